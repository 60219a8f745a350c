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
from connector_async._timestamps import parse_instant
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
        fields: Fields = dict(url.query) if body is None else orjson.loads(body)
        user = [fields.pop(key, "") for key in ("domainId", "adId")]
        calendar = self._calendars.setdefault((tenant, *user), {})
        status, content = self._respond(f"{method} {'/'.join(path)}", calendar, fields)
        head = CIMultiDict({"Content-Type": "application/json", "X-Request-Id": f"fake-{next(self._request_ids)}"})
        return Response(status=status, headers=head, body=orjson.dumps(content))

    def _respond(self, request: str, calendar: dict[str, Fields], fields: Fields) -> tuple[int, object]:
        """Return the status and the JSON value of the response."""
        if request == "POST appointment":
            return self._create(calendar, fields)
        if request == "GET appointment/preview":
            return 200, sorted(calendar.values(), key=lambda appointment: parse_instant(appointment["startTime"]))
        appointment_id = fields.get("appointmentId", "")
        if appointment_id not in calendar:
            return 404, {"status": 404, "title": "Not Found"}
        if request == "PUT appointment":
            return _update(calendar, fields)
        if request == "DELETE appointment":
            del calendar[appointment_id]
            return 200, {"appointmentId": appointment_id, "deleted": True}
        if request == "GET appointment":
            return 200, calendar[appointment_id]
        return 404, {"status": 404, "title": "Not Found"}

    def _create(self, calendar: dict[str, Fields], fields: Fields) -> tuple[int, object]:
        created = {"appointmentId": str(next(self._ids))}
        if "subject" in fields:  # the reference format shows a description in any case
            fields.setdefault("body", {"contentType": "Text", "content": ""})
        calendar[created["appointmentId"]] = fields | created
        return 200, created


def _update(calendar: dict[str, Fields], fields: Fields) -> tuple[int, object]:
    changed = calendar[fields["appointmentId"]] | fields
    if parse_instant(changed["endTime"]) < parse_instant(changed["startTime"]):
        return 400, {"status": 400, "title": "Bad Request", "errors": {"endTime": ["must not be before startTime"]}}
    calendar[fields["appointmentId"]] = changed
    return 200, changed
