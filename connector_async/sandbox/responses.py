"""The answers of operations that succeeded: their status, their bytes, and headers of their own.

It knows no body format, and no HTTP beyond the status and the headers it is given.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from attrs import field, frozen

from .settings import WriteReply

EMPTY_STATUS: Final[Mapping[WriteReply | None, HTTPStatus]] = {
    WriteReply.EMPTY_200: HTTPStatus.OK,
    WriteReply.EMPTY_201: HTTPStatus.CREATED,
    WriteReply.EMPTY_204: HTTPStatus.NO_CONTENT,
}


@frozen
class Answer:
    """What an operation answers."""

    content: bytes
    """JSON, or nothing."""
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(factory=dict)
    """Beside those that every answer has."""


EMPTY: Final = Answer(b"")


def json_answer(body: object, *, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer 200 with the body."""
    return Answer(orjson.dumps(body), headers=headers or {})


def write_answer(reply: WriteReply, appointment: Mapping[str, object]) -> Answer:
    """Answer a write of this appointment in the shape that is asked for."""
    if reply is WriteReply.APPOINTMENT:
        return json_answer(appointment)
    if reply is WriteReply.ID_OBJECT:
        return json_answer({"appointmentId": appointment["appointmentId"]})
    if reply is WriteReply.BARE_ID:
        return json_answer(appointment["appointmentId"])
    return Answer(b"", EMPTY_STATUS[reply])
