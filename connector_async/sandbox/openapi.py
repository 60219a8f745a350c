"""The OpenAPI 3.1 document of one sandbox: the requests and responses for its settings.

Of the faults, it describes only those with a status. It describes neither itself nor aiohttp's responses to bytes that
are not HTTP.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from .faults import StatusFault
from .openapi_schemas import (
    component_schemas,
    key_parameter_schemas,
    page_parameter_schemas,
    page_schema,
    range_parameter_schemas,
    ref,
    request_examples,
)
from .problems import PROBLEM_CONTENT_TYPE
from .responses import EMPTY_STATUS
from .settings import BodyFormat, PreviewPaging, SandboxSettings, UnknownId, WriteResponse

_Json = dict[str, Any]

_ACCESS_ERRORS: Final = (400, 401, 403, 404, 500)
_BODY_ERRORS: Final = (413, 415, 417)
_ERROR_DESCRIPTIONS: Final[Mapping[int, str]] = {
    400: "The request is invalid.",
    401: "The token is missing or invalid, or the client's secret is wrong.",
    403: "The token belongs to another tenant.",
    404: "The tenant or the appointment does not exist.",
    413: "The body is too large.",
    415: "The content type is not JSON.",
    417: "The expectation is not 100-continue.",
    429: "The tenant's rate limit is exceeded.",
    500: "The server failed.",
    503: "The tenant's rate limit is exceeded.",
}
_LINK_HEADER: Final[_Json] = {
    "description": "Path and query of the next page (RFC 8288); missing on the last page.",
    "schema": {"type": "string", "pattern": '^</[^<> ]*>; rel="next"$'},
}
_DESCRIPTION: Final = """A local server of the Connector Public API. The schemas cannot express three rules: the
tenantId header must equal the tenant id of the path, endTime must not be before startTime, and endDate must not be
before startDate."""


def build_document(settings: SandboxSettings) -> _Json:
    """Return the document as a JSON object."""
    paths = _Paths(settings)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Connector Public API", "version": "sandbox", "description": _DESCRIPTION},
        "paths": {
            "/{tenantId}/authentication/token": {"parameters": [paths.tenant("path")], "post": paths.token()},
            "/{tenantId}/appointment": {
                "parameters": [paths.tenant("path"), paths.tenant("header")],
                "get": paths.get(),
                "post": paths.create(),
                "put": paths.update(),
                "delete": paths.delete(),
            },
            "/{tenantId}/appointment/preview": {
                "parameters": [paths.tenant("path"), paths.tenant("header")],
                "get": paths.preview(),
            },
        },
        "components": {
            "schemas": component_schemas(settings),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


class _Paths:
    """Builds the parameters and operations of the paths."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._examples = request_examples(settings)
        rates = {} if settings.fault_rates is None else settings.fault_rates.rates
        self._extra_errors = {fault.code for fault in rates if isinstance(fault, StatusFault)}
        if settings.limit is not None:
            self._extra_errors.add(settings.limit.status)

    def tenant(self, location: str) -> _Json:
        tenants = self._settings.tenants
        schema: _Json = {"type": "string", "minLength": 1}
        if tenants is not None:
            schema["enum"] = sorted(tenants)
        example = "acme" if tenants is None else min(tenants, default="acme")
        return {"name": "tenantId", "in": location, "required": True, "schema": schema, "example": example}

    def token(self) -> _Json:
        responses = {"200": _json_response("A token.", ref("Token")), **self._errors(400, 401, 404, *_BODY_ERRORS, 500)}
        return {
            "operationId": "createToken",
            "security": [],
            "requestBody": self._body("Credentials"),
            "responses": responses,
        }

    def get(self) -> _Json:
        description = "The appointment."
        if self._settings.unknown_id is UnknownId.EMPTY:
            description = "The appointment, or an empty body without a content type if the id does not exist."
        return {
            "operationId": "getAppointment",
            "security": [{"bearer": []}],
            "parameters": self._query(key_parameter_schemas(self._settings)),
            "responses": {"200": _json_response(description, ref("Appointment")), **self._errors(*_ACCESS_ERRORS)},
        }

    def preview(self) -> _Json:
        response = _json_response("Appointments, ordered by start.", page_schema(self._settings))
        if self._settings.paging is PreviewPaging.LINK_HEADER:
            response["headers"]["Link"] = _LINK_HEADER
        page_parameters = self._query(page_parameter_schemas(self._settings), required=False)
        return {
            "operationId": "previewAppointments",
            "security": [{"bearer": []}],
            "parameters": [*self._query(range_parameter_schemas(self._settings)), *page_parameters],
            "responses": {"200": response, **self._errors(*_ACCESS_ERRORS)},
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
            "responses": {**self._write_response(default), **self._errors(*_ACCESS_ERRORS, *_BODY_ERRORS)},
        }

    def _write_response(self, default: str) -> _Json:
        kind = self._settings.write_response
        if kind in EMPTY_STATUS:
            return {str(int(EMPTY_STATUS[kind])): {"description": "Done.", "headers": _headers()}}
        schemas = {
            WriteResponse.APPOINTMENT: "Appointment",
            WriteResponse.ID_OBJECT: "IdObject",
            WriteResponse.BARE_ID: "Id",
        }
        return {"200": _json_response("Done.", ref(default if kind is None else schemas[kind]))}

    def _links(self) -> _Json:
        """Return the links that pass the id of a created appointment to the other operations.

        A link may have a `requestBody` of any type, but openapi-generator rejects a document with one that is not a
        string, and a string is no body of these operations. So their links describe the body instead.
        """
        kind = self._settings.write_response
        if kind in EMPTY_STATUS:
            return {}
        appointment_id = "$response.body" if kind is WriteResponse.BARE_ID else "$response.body#/appointmentId"
        guide = self._settings.body_format is BodyFormat.GUIDE
        user = {} if guide else {name: f"$request.body#/{name}" for name in ("domainId", "adId")}
        key, tenant = {"appointmentId": appointment_id, **user}, {"path.tenantId": "$request.path.tenantId"}
        body = "In the body: " + ", ".join(f"{name} is {expression}" for name, expression in key.items()) + "."
        return {
            "get": {"operationId": "getAppointment", "parameters": {**tenant, **key}},
            "update": {"operationId": "updateAppointment", "parameters": tenant, "description": body},
            "delete": {"operationId": "deleteAppointment", "parameters": tenant, "description": body},
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

    def _errors(self, *statuses: int) -> _Json:
        return {str(status): _error_response(status) for status in sorted({*statuses, *self._extra_errors})}


def _json_response(description: str, schema: _Json) -> _Json:
    content = {"application/json": {"schema": schema}}
    return {"description": description, "headers": _headers(), "content": content}


def _error_response(status: int) -> _Json:
    headers = _headers()
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds."}
    return {
        "description": _ERROR_DESCRIPTIONS.get(status, "A scripted fault."),
        "headers": headers,
        "content": {PROBLEM_CONTENT_TYPE: {"schema": ref("Problem")}},
    }


def _headers() -> _Json:
    return {"x-request-id": {"required": True, "schema": {"type": "string", "minLength": 1}}}
