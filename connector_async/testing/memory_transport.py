"""A transport that responds from memory as the API does, instead of sending requests."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from connector_async._clock import Deadline
from connector_async._timestamps import InstantError, parse_instant
from connector_async.protocol import Response
from connector_async.session.transport import Transport, TransportOptions

Fields = dict[str, Any]
"""The JSON object of an appointment, in either wire format."""


class MemoryTransport(Transport):
    """Keeps the appointments of all tenants in memory, as the JSON objects that were sent."""

    def __init__(self, options: TransportOptions, borrowed: aiohttp.ClientSession | None = None) -> None:
        super().__init__(options, borrowed)
        self._calendars: dict[tuple[str, ...], dict[str, Fields]] = {}
        """The appointments by id: those of each tenant, or of each user of a tenant where requests name a user."""
        self._ids = itertools.count(1)
        self._request_ids = itertools.count(1)

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],  # noqa: ARG002
        body: bytes | None,
        deadline: Deadline | None = None,
    ) -> Response:
        """Return the response to a request. Other tasks run first, as they would while a response is awaited.

        Raises:
            DeadlineExceededError: If the deadline has expired.
        """
        self._time_limit(deadline)
        await asyncio.sleep(0)
        _, tenant, *path = url.parts
        fields: Any = dict(url.query) if body is None else orjson.loads(body)
        if isinstance(fields, dict):
            user = [fields.pop(key, "") for key in ("domainId", "adId")]
            calendar = self._calendars.setdefault((tenant, *user), {})
            status, content = self._respond(f"{method} {'/'.join(path)}", calendar, fields)
        else:
            status, content = _invalid("the body must be an object", "$")
        head = CIMultiDict({"Content-Type": "application/json", "X-Request-Id": f"fake-{next(self._request_ids)}"})
        return Response(status=status, headers=head, body=orjson.dumps(content))

    def _respond(self, request: str, calendar: dict[str, Fields], fields: Fields) -> tuple[int, object]:
        """Return the status and the JSON value of the response."""
        appointment_id = fields.get("appointmentId")
        match request:
            case "POST appointment":
                return self._create(calendar, fields)
            case "GET appointment/preview":
                return 200, sorted(calendar.values(), key=lambda appointment: parse_instant(appointment["startTime"]))
            case "GET appointment" | "PUT appointment" | "DELETE appointment" if not isinstance(appointment_id, str):
                return _invalid("is required", "appointmentId")
            case "GET appointment" if appointment_id in calendar:
                return 200, calendar[appointment_id]
            case "PUT appointment" if appointment_id in calendar:
                return _store(calendar, calendar[appointment_id] | fields)
            case "DELETE appointment" if appointment_id in calendar:
                del calendar[appointment_id]
                return 200, {"appointmentId": appointment_id, "deleted": True}
        return 404, {"status": 404, "title": "Not Found"}

    def _create(self, calendar: dict[str, Fields], fields: Fields) -> tuple[int, object]:
        if "subject" in fields:  # the reference format shows a description in any case
            fields.setdefault("body", {"contentType": "Text", "content": ""})
        status, stored = _store(calendar, fields | {"appointmentId": str(next(self._ids))})
        return status, {"appointmentId": stored["appointmentId"]} if status == 200 else stored


def _store(calendar: dict[str, Fields], fields: Fields) -> tuple[int, Fields]:
    """Keep an appointment and return it, or the response to one that is not valid. Fields of any name are kept."""
    title = "subject" if "subject" in fields else "title"
    if missing := [name for name in (title, "startTime", "endTime") if not isinstance(fields.get(name), str)]:
        return _invalid("must be a string", *missing)
    try:
        start, end = parse_instant(fields["startTime"]), parse_instant(fields["endTime"])
    except InstantError as error:
        return _invalid(str(error), "startTime", "endTime")
    if end < start:
        return _invalid("must not be before startTime", "endTime")
    calendar[fields["appointmentId"]] = fields
    return 200, fields


def _invalid(problem: str, *names: str) -> tuple[int, Fields]:
    return 400, {"status": 400, "title": "Bad Request", "errors": {name: [problem] for name in names}}
