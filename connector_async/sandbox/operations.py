"""The operations: check the request, call the storage or the token issuer, and build the response.

Sending responses and problems, and logging, happen in `handler`.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Final

from aiohttp import hdrs, web

from .body_formats import Format, choose_format
from .models import Appointment
from .openapi import build_document
from .paging import PageRequest, Pagination
from .problems import Problem, invalid, unauthorized
from .request_parsing import read_json_object, read_origin, read_query, require_access
from .responses import EMPTY, SandboxResponse, json_response, write_response
from .routing import SandboxOperation, Target, escape_path
from .settings import SandboxSettings, UnknownId, WriteResponse
from .storage import EndBeforeStartError, Storage
from .tokens import TokenIssuer, is_valid_secret, token_response_body
from .validation import END_BEFORE_START, FieldReader

_AppointmentOperation = Callable[[web.BaseRequest, str], Awaitable[SandboxResponse]]


class Operations:
    """The operations on appointments, the token endpoint of the reference, and the OpenAPI document."""

    def __init__(self, *, settings: SandboxSettings, storage: Storage, tokens: TokenIssuer) -> None:
        self._settings = settings
        self._storage = storage
        self._tokens = tokens
        self._format: Final[Format] = choose_format(settings)
        self._pagination: Final = Pagination(style=settings.paging, page_size=settings.page_size)
        self._appointment_operations: Final[Mapping[SandboxOperation, _AppointmentOperation]] = {
            "create": self._create,
            "delete": self._delete,
            "get": self._get,
            "preview": self._preview,
            "update": self._update,
        }

    async def run(self, request: web.BaseRequest, target: Target) -> SandboxResponse:
        """Run the operation of the target and return its response.

        Raises:
            Problem: For every error response. The path is checked before the method, the method before access, and
                access before the body.
        """
        self._check_target(target)
        if target.operation == "openapi":
            return self._openapi_document
        if target.operation == "token":
            return await self._issue_token(request, target.tenant)
        require_access(request, tenant=target.tenant, tokens=self._tokens)
        return await self._appointment_operations[target.operation](request, target.tenant)

    def _check_target(self, target: Target) -> None:
        if not target.allowed_methods:
            raise Problem("The path does not exist.", status=404)
        if target.operation == "unknown":
            detail = "The path does not support this method."
            raise Problem(detail, status=405, headers={"Allow": ", ".join(target.allowed_methods)})
        tenants = self._settings.tenants
        if target.operation != "openapi" and tenants is not None and target.tenant not in tenants:
            raise Problem("The tenant does not exist.", status=404)

    @cached_property
    def _openapi_document(self) -> SandboxResponse:
        return json_response(build_document(self._settings))

    async def _issue_token(self, request: web.BaseRequest, tenant: str) -> SandboxResponse:
        fields = FieldReader(await read_json_object(request), allowed=("clientId", "clientSecret"))
        client_id, secret = fields.non_empty_string("clientId"), fields.non_empty_string("clientSecret")
        fields.raise_if_invalid()
        if not is_valid_secret(self._settings.clients, client_id=client_id, client_secret=secret):
            raise unauthorized("The client is unknown or its secret is wrong.")
        token = self._tokens.issue(tenant=tenant, client_id=client_id)
        lifetime = self._settings.token_lifetime
        return json_response(token_response_body(self._settings.token_response, token=token, lifetime=lifetime))

    async def _get(self, request: web.BaseRequest, tenant: str) -> SandboxResponse:
        appointment = await self._storage.get(tenant, self._format.read_key(read_query(request)))
        if appointment is None and self._settings.unknown_id is UnknownId.EMPTY:
            return EMPTY
        return json_response(self._object(_require(appointment)))

    async def _preview(self, request: web.BaseRequest, tenant: str) -> SandboxResponse:
        query = read_query(request)
        fields = FieldReader(query, allowed=query)
        time_range, selection = self._format.read_range(fields), self._pagination.read_selection(fields)
        fields.raise_if_invalid()
        origin = read_origin(request) if self._pagination.needs_origin else ""
        if time_range is None:
            page = await self._storage.list_without_user(tenant, selection)
        else:
            page = await self._storage.list_overlapping(tenant, time_range, selection)
        items = [self._object(appointment) for appointment in page.appointments]
        path = escape_path(request.rel_url.raw_path)
        page_request = PageRequest(origin=origin, path=path, query=query, selection=selection)
        body, link = self._pagination.write_page(page_request, page, items)
        return json_response(body, headers={} if link is None else {hdrs.LINK: link})

    async def _create(self, request: web.BaseRequest, tenant: str) -> SandboxResponse:
        body = await read_json_object(request)
        appointment = self._format.read_new(body, appointment_id=self._settings.new_appointment_id())
        kind = self._settings.write_response or WriteResponse.ID_OBJECT
        response = write_response(kind, self._object(appointment))
        await self._storage.add(tenant, appointment)
        return response

    async def _update(self, request: web.BaseRequest, tenant: str) -> SandboxResponse:
        changes = self._format.read_changes(await read_json_object(request))
        try:
            appointment = _require(await self._storage.update(tenant, changes))
        except EndBeforeStartError as error:
            raise invalid(END_BEFORE_START) from error
        kind = self._settings.write_response or WriteResponse.APPOINTMENT
        return write_response(kind, self._object(appointment))

    async def _delete(self, request: web.BaseRequest, tenant: str) -> SandboxResponse:
        key = self._format.read_deletion(await read_json_object(request))
        appointment = self._object(_require(await self._storage.delete(tenant, key)))
        if self._settings.write_response is None:
            return json_response({"appointmentId": appointment["appointmentId"], "deleted": True})
        return write_response(self._settings.write_response, appointment)

    def _object(self, appointment: Appointment) -> dict[str, object]:
        return self._format.appointment_object(appointment)


def _require(appointment: Appointment | None) -> Appointment:
    if appointment is None:
        raise Problem("The appointment does not exist.", status=404)
    return appointment
