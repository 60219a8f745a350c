"""What each operation does: check the request, call the storage or the token issuer, build the JSON of the answer.

It does not know how an answer or a refusal is written, nor that requests are logged.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from aiohttp import web
from attrs import field, frozen

from connector_async.sandbox.appointments import Appointment, appointment_body
from connector_async.sandbox.incoming import read_object, read_query, require_access
from connector_async.sandbox.problems import Problem, invalid, unauthorized
from connector_async.sandbox.request_log import Operation
from connector_async.sandbox.routing import Target
from connector_async.sandbox.storage import EndBeforeStartError, Storage
from connector_async.sandbox.tokens import TokenReply, Tokens, secret_matches, token_body
from connector_async.sandbox.validation import (
    END_BEFORE_START,
    read_appointment_id,
    read_changes,
    read_credentials,
    read_new_appointment,
)

_Perform = Callable[[web.BaseRequest, str], Awaitable[object]]


@frozen(kw_only=True)
class Settings:
    """How one sandbox answers."""

    clients: Mapping[str, str] = field(repr=False)
    """Client id to secret, for every tenant."""
    tenants: Collection[str] | None
    """The tenant ids that exist; None: every one does."""
    token_lifetime: int
    """Seconds."""
    token_reply: TokenReply
    new_appointment_id: Callable[[], str]


class Operations:
    """The operations of the guide, and the token endpoint of the reference.

    Each takes the request and its tenant, and returns what to answer as JSON or raises a `Problem`.
    """

    def __init__(self, *, settings: Settings, storage: Storage, tokens: Tokens) -> None:
        self._settings = settings
        self._storage = storage
        self._tokens = tokens
        self._appointment_operations: Final[Mapping[Operation, _Perform]] = {
            "create": self._create,
            "delete": self._delete,
            "get": self._get,
            "preview": self._preview,
            "update": self._update,
        }

    async def perform(self, request: web.BaseRequest, target: Target) -> object:
        """Do what the target names.

        Returns:
            The body of the 200, ready for JSON.

        Raises:
            Problem: Every refusal; 404 and 405 come before those of access, and these before those of the body.
        """
        self._require_target(target)
        if target.operation == "token":
            return await self._issue_token(request, target.tenant)
        require_access(request, tenant=target.tenant, tokens=self._tokens)
        return await self._appointment_operations[target.operation](request, target.tenant)

    def _require_target(self, target: Target) -> None:
        if not target.allowed:
            raise Problem("There is no such path.", status=404)
        if target.operation == "unknown":
            detail = "The path does not take this method."
            raise Problem(detail, status=405, headers={"Allow": ", ".join(target.allowed)})
        if self._settings.tenants is not None and target.tenant not in self._settings.tenants:
            raise Problem("There is no such tenant.", status=404)

    async def _issue_token(self, request: web.BaseRequest, tenant: str) -> object:
        credentials = read_credentials(await read_object(request))
        client_id, secret = credentials.client_id, credentials.client_secret
        if not secret_matches(self._settings.clients, client_id=client_id, client_secret=secret):
            raise unauthorized("The client is unknown or its secret is wrong.")
        token = self._tokens.issue(tenant=tenant, client_id=client_id)
        return token_body(self._settings.token_reply, token=token, lifetime=self._settings.token_lifetime)

    async def _get(self, request: web.BaseRequest, tenant: str) -> object:
        appointment_id = read_appointment_id(read_query(request), closed=False)
        return appointment_body(_found(await self._storage.find(tenant, appointment_id)))

    async def _preview(self, _request: web.BaseRequest, tenant: str) -> object:
        return [appointment_body(appointment) for appointment in await self._storage.list_by_start(tenant)]

    async def _create(self, request: web.BaseRequest, tenant: str) -> object:
        body = await read_object(request)
        appointment = read_new_appointment(body, appointment_id=self._settings.new_appointment_id())
        await self._storage.add(tenant, appointment)
        return {"appointmentId": appointment.appointment_id}

    async def _update(self, request: web.BaseRequest, tenant: str) -> object:
        changes = read_changes(await read_object(request))
        try:
            return appointment_body(_found(await self._storage.change(tenant, changes)))
        except EndBeforeStartError as error:
            raise invalid(END_BEFORE_START) from error

    async def _delete(self, request: web.BaseRequest, tenant: str) -> object:
        appointment_id = read_appointment_id(await read_object(request))
        if not await self._storage.remove(tenant, appointment_id):
            raise _no_appointment()
        return {"appointmentId": appointment_id, "deleted": True}


def _found(appointment: Appointment | None) -> Appointment:
    if appointment is None:
        raise _no_appointment()
    return appointment


def _no_appointment() -> Problem:
    return Problem("The tenant has no such appointment.", status=404)
