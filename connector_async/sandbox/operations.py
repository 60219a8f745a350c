"""What each operation does: check the request, call the storage or the token issuer, build the JSON of the answer.

It does not know how an answer or a refusal is written, nor that requests are logged.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Final

from aiohttp import hdrs, web

from .appointments import Appointment
from .formats import Format, choose_format
from .openapi import build_document
from .paging import PageRequest, Pages
from .problems import Problem, invalid, unauthorized
from .request_log import Operation
from .requests import read_object, read_origin, read_query, require_access
from .responses import EMPTY, Answer, json_answer, write_answer
from .routing import Target, instance_uri
from .settings import Settings, UnknownId, WriteReply
from .storage import EndBeforeStartError, Storage
from .tokens import Tokens, secret_matches, token_body
from .validation import END_BEFORE_START, Fields, read_credentials

_Perform = Callable[[web.BaseRequest, str], Awaitable[Answer]]


class Operations:
    """The operations on appointments, the token endpoint of the reference, and the document that describes them.

    Each takes the request and its tenant, and returns what to answer or raises a `Problem`.
    """

    def __init__(self, *, settings: Settings, storage: Storage, tokens: Tokens) -> None:
        self._settings = settings
        self._storage = storage
        self._tokens = tokens
        self._format: Final[Format] = choose_format(settings)
        self._pages: Final = Pages(style=settings.paging, size=settings.page_size)
        self._appointment_operations: Final[Mapping[Operation, _Perform]] = {
            "create": self._create,
            "delete": self._delete,
            "get": self._get,
            "preview": self._preview,
            "update": self._update,
        }

    async def perform(self, request: web.BaseRequest, target: Target) -> Answer:
        """Do what the target names.

        Raises:
            Problem: Every refusal; 404 and 405 come before those of access, and these before those of the body.
        """
        self._require_target(target)
        if target.operation == "openapi":
            return self._document
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
        if target.operation != "openapi" and not self._exists(target.tenant):
            raise Problem("There is no such tenant.", status=404)

    def _exists(self, tenant: str) -> bool:
        return self._settings.tenants is None or tenant in self._settings.tenants

    @cached_property
    def _document(self) -> Answer:
        return json_answer(build_document(self._settings))

    async def _issue_token(self, request: web.BaseRequest, tenant: str) -> Answer:
        credentials = read_credentials(await read_object(request))
        client_id, secret = credentials.client_id, credentials.client_secret
        if not secret_matches(self._settings.clients, client_id=client_id, client_secret=secret):
            raise unauthorized("The client is unknown or its secret is wrong.")
        token = self._tokens.issue(tenant=tenant, client_id=client_id)
        return json_answer(token_body(self._settings.token_reply, token=token, lifetime=self._settings.token_lifetime))

    async def _get(self, request: web.BaseRequest, tenant: str) -> Answer:
        appointment = await self._storage.find(tenant, self._format.read_key(read_query(request)))
        if appointment is None and self._settings.unknown_id is UnknownId.EMPTY:
            return EMPTY
        return json_answer(self._object(_found(appointment)))

    async def _preview(self, request: web.BaseRequest, tenant: str) -> Answer:
        query = read_query(request)
        fields = Fields(query, allowed=query)
        wanted, part = self._format.read_range(fields), self._pages.read_part(fields)
        fields.finish()
        origin = read_origin(request) if self._pages.have_origin else ""
        if wanted is None:
            found = await self._storage.list_by_start(tenant, part)
        else:
            found = await self._storage.list_overlapping(tenant, wanted, part)
        items = [self._object(appointment) for appointment in found.appointments]
        asked = PageRequest(origin=origin, path=instance_uri(request.rel_url.raw_path), query=query, part=part)
        body, link = self._pages.write_page(asked, found, items)
        return json_answer(body, headers={} if link is None else {hdrs.LINK: link})

    async def _create(self, request: web.BaseRequest, tenant: str) -> Answer:
        body = await read_object(request)
        appointment = self._format.read_new(body, appointment_id=self._settings.new_appointment_id())
        answer = write_answer(self._settings.write_reply or WriteReply.ID_OBJECT, self._object(appointment))
        await self._storage.add(tenant, appointment)
        return answer

    async def _update(self, request: web.BaseRequest, tenant: str) -> Answer:
        changes = self._format.read_changes(await read_object(request))
        try:
            appointment = _found(await self._storage.change(tenant, changes))
        except EndBeforeStartError as error:
            raise invalid(END_BEFORE_START) from error
        return write_answer(self._settings.write_reply or WriteReply.APPOINTMENT, self._object(appointment))

    async def _delete(self, request: web.BaseRequest, tenant: str) -> Answer:
        key = self._format.read_deletion(await read_object(request))
        appointment = self._object(_found(await self._storage.remove(tenant, key)))
        if self._settings.write_reply is None:
            return json_answer({"appointmentId": appointment["appointmentId"], "deleted": True})
        return write_answer(self._settings.write_reply, appointment)

    def _object(self, appointment: Appointment) -> dict[str, object]:
        return self._format.appointment_object(appointment)


def _found(appointment: Appointment | None) -> Appointment:
    if appointment is None:
        raise Problem("The tenant has no such appointment.", status=404)
    return appointment
