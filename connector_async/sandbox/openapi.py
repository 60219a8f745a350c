"""The OpenAPI 3.1 document of one sandbox: what it accepts and answers as it is set up.

It describes faults only as far as they answer a status, and neither itself nor what aiohttp answers to bytes that
are not HTTP.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from .examples import request_examples
from .faults import StatusFault
from .problems import CONTENT_TYPE
from .responses import EMPTY_STATUS
from .schemas import (
    component_schemas,
    page_schema,
    paging_schemas,
    preview_schemas,
    query_schemas,
    ref,
)
from .settings import BodyFormat, PreviewPaging, Settings, UnknownId, WriteReply

_Json = dict[str, Any]

_ACCESS: Final = (400, 401, 403, 404, 500)
_BODY: Final = (413, 415, 417)
_REFUSALS: Final[Mapping[int, str]] = {
    400: "The request is invalid.",
    401: "No valid token, or no client with this secret.",
    403: "The token belongs to another tenant.",
    404: "There is no such tenant, or no such appointment.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    417: "The expectation is not 100-continue.",
    429: "The tenant's rate limit is exceeded.",
    500: "The server failed.",
    503: "The tenant's rate limit is exceeded.",
}
_NEXT: Final[_Json] = {
    "description": "Of the next page (RFC 8288): a path and query. The last page has none.",
    "schema": {"type": "string", "pattern": '^</[^<> ]*>; rel="next"$'},
}
_DESCRIPTION: Final = """A local server of the Connector Public API. What a schema cannot say: the tenantId header
repeats the tenant id of the path, and an endTime is not before its startTime, nor an endDate before its startDate."""


def build_document(settings: Settings) -> _Json:
    """Build the document, ready for JSON."""
    parts = _Parts(settings)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Connector Public API", "version": "sandbox", "description": _DESCRIPTION},
        "paths": {
            "/{tenantId}/authentication/token": {"parameters": [parts.tenant("path")], "post": parts.token()},
            "/{tenantId}/appointment": {
                "parameters": [parts.tenant("path"), parts.tenant("header")],
                "get": parts.get(),
                "post": parts.create(),
                "put": parts.update(),
                "delete": parts.delete(),
            },
            "/{tenantId}/appointment/preview": {
                "parameters": [parts.tenant("path"), parts.tenant("header")],
                "get": parts.preview(),
            },
        },
        "components": {
            "schemas": component_schemas(settings),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


class _Parts:
    """Builds the parts of the document that depend on the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._examples = request_examples(settings)
        rates = {} if settings.fault_rates is None else settings.fault_rates.rates
        self._extra = {fault.code for fault in rates if isinstance(fault, StatusFault)}
        if settings.limit is not None:
            self._extra.add(settings.limit.status)

    def tenant(self, place: str) -> _Json:
        tenants = self._settings.tenants
        schema: _Json = {"type": "string", "minLength": 1}
        if tenants is not None:
            schema["enum"] = sorted(tenants)
        example = "acme" if tenants is None else min(tenants, default="acme")
        return {"name": "tenantId", "in": place, "required": True, "schema": schema, "example": example}

    def token(self) -> _Json:
        responses = {"200": _json_answer("A token.", ref("Token")), **self._refusals(400, 401, 404, *_BODY, 500)}
        return {
            "operationId": "createToken",
            "security": [],
            "requestBody": self._body("Credentials"),
            "responses": responses,
        }

    def get(self) -> _Json:
        found = "The appointment."
        if self._settings.unknown_id is UnknownId.EMPTY:
            found = "The appointment, or an empty body without a content type when there is none of that id."
        return {
            "operationId": "getAppointment",
            "security": [{"bearer": []}],
            "parameters": self._query(query_schemas(self._settings)),
            "responses": {"200": _json_answer(found, ref("Appointment")), **self._refusals(*_ACCESS)},
        }

    def preview(self) -> _Json:
        answer = _json_answer("Appointments in order of their start.", page_schema(self._settings))
        if self._settings.paging is PreviewPaging.LINK_HEADER:
            answer["headers"]["Link"] = _NEXT
        position = self._query(paging_schemas(self._settings), required=False)
        return {
            "operationId": "previewAppointments",
            "security": [{"bearer": []}],
            "parameters": [*self._query(preview_schemas(self._settings)), *position],
            "responses": {"200": answer, **self._refusals(*_ACCESS)},
        }

    def create(self) -> _Json:
        operation = self._write("createAppointment", "NewAppointment", default="IdObject")
        links = self._links()
        if links:
            operation["responses"]["200"]["links"] = links
        return operation

    def update(self) -> _Json:
        return self._write("updateAppointment", "AppointmentUpdate", default="Appointment")

    def delete(self) -> _Json:
        return self._write("deleteAppointment", "AppointmentKey", default="Deletion")

    def _write(self, operation_id: str, body: str, *, default: str) -> _Json:
        return {
            "operationId": operation_id,
            "security": [{"bearer": []}],
            "requestBody": self._body(body),
            "responses": {**self._write_answer(default), **self._refusals(*_ACCESS, *_BODY)},
        }

    def _write_answer(self, default: str) -> _Json:
        reply = self._settings.write_reply
        if reply in EMPTY_STATUS:
            return {str(int(EMPTY_STATUS[reply])): {"description": "Done.", "headers": _headers()}}
        names = {WriteReply.APPOINTMENT: "Appointment", WriteReply.ID_OBJECT: "IdObject", WriteReply.BARE_ID: "Id"}
        return {"200": _json_answer("Done.", ref(default if reply is None else names[reply]))}

    def _links(self) -> _Json:
        """Say where the id of a created appointment goes."""
        reply = self._settings.write_reply
        if reply in EMPTY_STATUS:
            return {}
        path = "$response.body" if reply is WriteReply.BARE_ID else "$response.body#/appointmentId"
        guide = self._settings.body_format is BodyFormat.GUIDE
        user = {} if guide else {name: f"$request.body#/{name}" for name in ("domainId", "adId")}
        key, tenant = {"appointmentId": path, **user}, {"path.tenantId": "$request.path.tenantId"}
        return {
            "get": {"operationId": "getAppointment", "parameters": {**tenant, **key}},
            "update": {"operationId": "updateAppointment", "parameters": tenant, "requestBody": key},
            "delete": {"operationId": "deleteAppointment", "parameters": tenant, "requestBody": key},
        }

    def _query(self, schemas: Mapping[str, _Json], *, required: bool = True) -> Sequence[_Json]:
        examples = self._examples["query"]
        return [
            {"name": name, "in": "query", "required": required, "schema": schema, "example": examples[name]}
            for name, schema in schemas.items()
        ]

    def _body(self, name: str) -> _Json:
        content: _Json = {"schema": ref(name)}
        if name in self._examples:
            content["example"] = self._examples[name]
        return {"required": True, "content": {"application/json": content}}

    def _refusals(self, *statuses: int) -> _Json:
        return {str(status): _refusal(status) for status in sorted({*statuses, *self._extra})}


def _json_answer(description: str, schema: _Json) -> _Json:
    content = {"application/json": {"schema": schema}}
    return {"description": description, "headers": _headers(), "content": content}


def _refusal(status: int) -> _Json:
    headers = _headers()
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds."}
    return {
        "description": _REFUSALS.get(status, "A scripted fault."),
        "headers": headers,
        "content": {CONTENT_TYPE: {"schema": ref("Problem")}},
    }


def _headers() -> _Json:
    return {"x-request-id": {"required": True, "schema": {"type": "string", "minLength": 1}}}
