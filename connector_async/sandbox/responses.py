"""The responses of successful operations: status, body, and headers that only some responses have.

This module does not know the body formats.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from attrs import field, frozen

from .settings import WriteResponse

EMPTY_STATUS: Final[Mapping[WriteResponse | None, HTTPStatus]] = {
    WriteResponse.EMPTY_200: HTTPStatus.OK,
    WriteResponse.EMPTY_201: HTTPStatus.CREATED,
    WriteResponse.EMPTY_204: HTTPStatus.NO_CONTENT,
}


@frozen
class SandboxResponse:
    """The response of one operation."""

    body: bytes
    """JSON, or empty."""
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(factory=dict)
    """Headers besides those of every response."""


EMPTY: Final = SandboxResponse(b"")


def json_response(body: object, *, headers: Mapping[str, str] | None = None) -> SandboxResponse:
    """Return a 200 with this JSON body."""
    return SandboxResponse(orjson.dumps(body), headers=headers or {})


def write_response(kind: WriteResponse, appointment: Mapping[str, object]) -> SandboxResponse:
    """Return the response to a write of this appointment, of the given kind."""
    match kind:
        case WriteResponse.APPOINTMENT:
            return json_response(appointment)
        case WriteResponse.ID_OBJECT:
            return json_response({"appointmentId": appointment["appointmentId"]})
        case WriteResponse.BARE_ID:
            return json_response(appointment["appointmentId"])
        case _:
            return SandboxResponse(b"", EMPTY_STATUS[kind])
