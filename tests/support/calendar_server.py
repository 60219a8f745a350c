"""A server of the guide's format with habits: what real calendar servers do beside what the documents say.

`python -m tests.support.calendar_server '{"habit": value, …}'` runs it as a process of its own and prints its base URL.
"""

import asyncio
import sys
import time
import unicodedata
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import orjson

from tests.support.hostile import HostileServer, ReceivedRequest, http

Appointment = dict[str, Any]


def _to_minute(fields: Appointment) -> Appointment:
    return fields | {name: fields[name][:16] + ":00Z" for name in ("startTime", "endTime")}


def _described(fields: Appointment) -> Appointment:
    return fields | {"description": fields.get("description") or "Created by the connector"}


def _on_texts(change: Callable[[str], str]) -> Callable[[Appointment], Appointment]:
    def normalize(fields: Appointment) -> Appointment:
        return fields | {
            name: change(fields[name]) for name in ("title", "description") if isinstance(fields.get(name), str)
        }

    return normalize


NORMALIZATIONS: dict[str, Callable[[Appointment], Appointment]] = {
    "trim": _on_texts(str.strip),
    "upper": lambda fields: fields | {"title": fields["title"].upper()},
    "cut": lambda fields: fields | {"title": fields["title"][:12]},
    "minutes": _to_minute,
    "described": _described,
    "nfc": _on_texts(lambda text: unicodedata.normalize("NFC", text)),
    "crlf": _on_texts(lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n")),
}
"""What a server may make of what it is sent."""


@attrs.define(kw_only=True)
class Habits:
    """What the server does beside what the documents say."""

    normalize: str = ""
    """A key of `NORMALIZATIONS`: what is stored differs from what was sent."""
    echo: bool = False
    """Responses to writes repeat what was sent rather than what is stored."""
    preview_description: bool = True
    """Whether previews contain descriptions."""
    get_description: bool = True
    """Whether a single appointment is shown with its description."""
    lag: float = 0.0
    """Seconds by which `get` and previews are behind."""
    upper_ids_in_previews: bool = False
    new_id_on_update: bool = False
    """An update gives the appointment another id, which its response contains."""
    keep_replaced: bool = False
    """The appointment whose id an update has changed stays, under its old id."""
    deduplicate: bool = False
    """A create of what exists, and an update to it, returns the id of that."""
    lose_creates: int = 0
    """So many creates happen without a response."""
    throttle: list[int] = attrs.field(factory=list)
    """The next creates are refused with 429 and a `Retry-After` of these seconds, one each."""
    preview_limit: int | None = None
    """Previews show so many appointments at most, without a word."""
    refuse: dict[str, int] = attrs.field(factory=dict)
    """By `tenant` or `tenant METHOD`: the status that its requests are refused with."""
    reason: str = "not enabled for this tenant"
    """The detail of the problem that a refusal has."""
    garbled_previews: tuple[str, ...] = ()
    """Tenants with previews that are not JSON."""


class CalendarServer(HostileServer):
    """Keeps the appointments of any tenant. What was sent is in `requests`.

    Args:
        clock: Seconds, for the lag.
    """

    def __init__(self, habits: Habits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(self._respond)
        self.habits = habits or Habits()
        self.stored: dict[str, dict[str, Appointment]] = {}
        self._clock = clock
        self._history: list[tuple[float, dict[str, dict[str, Appointment]]]] = []
        self._given = 0

    def titles(self, tenant: str = "acme") -> list[str]:
        return sorted(each["title"] for each in self.stored.get(tenant, {}).values())

    def writes(self) -> dict[str, int]:
        """Return how many requests of each method that writes have come."""
        methods = [each.method for each in self.requests if "/authentication/" not in each.target]
        return {method: methods.count(method) for method in ("POST", "PUT", "DELETE") if method in methods}

    def add(self, tenant: str = "acme", **fields: Any) -> str:
        """Store an appointment of somebody else, and return its id."""
        self._given += 1
        appointment_id = f"a-{self._given}"
        self.stored.setdefault(tenant, {})[appointment_id] = {"appointmentId": appointment_id, **fields}
        return appointment_id

    async def _respond(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        response = self._response(self.requests[-1])
        if response is None:
            writer.close()
        else:
            writer.write(response)
            await writer.drain()

    def _response(self, request: ReceivedRequest) -> bytes | None:
        url = urlsplit(request.target)
        tenant, _, resource = url.path.lstrip("/").partition("/")
        if resource == "authentication/token":
            return http(200, b'{"accessToken":"token","expiresIn":3600}')
        status = self.habits.refuse.get(f"{tenant} {request.method}", self.habits.refuse.get(tenant))
        if status is not None:
            problem = {"title": "Refused", "status": status, "detail": self.habits.reason}
            return http(status, orjson.dumps(problem), Content_Type="application/problem+json")
        if request.method == "POST" and self.habits.throttle:
            return http(429, b"{}", Retry_After=str(self.habits.throttle.pop(0)))
        if request.method == "GET":
            return self._read(tenant, resource, parse_qs(url.query))
        return self._write(tenant, request.method, orjson.loads(request.body))

    def _read(self, tenant: str, resource: str, query: dict[str, list[str]]) -> bytes:
        visible = self._visible().get(tenant, {})
        if resource == "appointment/preview":
            if tenant in self.habits.garbled_previews:
                return http(200, b"[{")
            shown = [self._shown(each) for each in visible.values()]
            return http(200, orjson.dumps(shown[: self.habits.preview_limit]))
        (appointment_id,) = query["appointmentId"]
        found = visible.get(_same_id(appointment_id, visible))
        if found is not None and not self.habits.get_description:
            found = {name: value for name, value in found.items() if name != "description"}
        return http(404, b"{}") if found is None else http(200, orjson.dumps(found))

    def _shown(self, stored: Appointment) -> Appointment:
        shown = dict(stored)
        if not self.habits.preview_description:
            shown.pop("description", None)
        if self.habits.upper_ids_in_previews:
            shown["appointmentId"] = shown["appointmentId"].upper()
        return shown

    def _visible(self) -> dict[str, dict[str, Appointment]]:
        """Return what readers see: the state as it was `lag` seconds ago."""
        if not self.habits.lag:
            return self.stored
        then = self._clock() - self.habits.lag
        return next((stored for at, stored in reversed(self._history) if at <= then), {})

    def _write(self, tenant: str, method: str, sent: Appointment) -> bytes | None:
        stored = self.stored.setdefault(tenant, {})
        appointment_id = sent.get("appointmentId", "")
        if method != "POST":
            appointment_id = _same_id(appointment_id, stored)
            if appointment_id not in stored:
                return http(404, b"{}")
        if method == "DELETE":
            del stored[appointment_id]
            self._remember()
            return http(204)
        if method == "PUT":
            fields = stored[appointment_id] | sent
            others = [each for each in stored.values() if each["appointmentId"] != appointment_id]
            twin = next((each for each in others if _same(each, self._normalized(fields))), None)
            if twin and self.habits.deduplicate:
                del stored[appointment_id]
                appointment_id = twin["appointmentId"]
            elif self.habits.new_id_on_update:
                if not self.habits.keep_replaced:
                    del stored[appointment_id]
                appointment_id = self._new_id()
        else:
            fields = sent
            twin = next((each for each in stored.values() if _same(each, self._normalized(sent))), None)
            appointment_id = twin["appointmentId"] if twin and self.habits.deduplicate else self._new_id()
        stored[appointment_id] = self._normalized(fields) | {"appointmentId": appointment_id}
        self._remember()
        if method == "POST" and self.habits.lose_creates:
            self.habits.lose_creates -= 1
            return None
        shown = fields | {"appointmentId": appointment_id} if self.habits.echo else stored[appointment_id]
        return http(201 if method == "POST" else 200, orjson.dumps(shown))

    def _normalized(self, fields: Appointment) -> Appointment:
        return NORMALIZATIONS[self.habits.normalize](fields) if self.habits.normalize else dict(fields)

    def _new_id(self) -> str:
        self._given += 1
        return f"a-{self._given}"

    def _remember(self) -> None:
        if self.habits.lag:
            self._history.append((self._clock(), deepcopy(self.stored)))


def _same_id(appointment_id: str, stored: dict[str, Appointment]) -> str:
    """Return the stored id that an id means, since their case does not count; the same id if there is none."""
    if appointment_id in stored:
        return appointment_id
    return next((each for each in stored if each.upper() == appointment_id.upper()), appointment_id)


def _same(one: Appointment, other: Appointment) -> bool:
    names = ("title", "startTime", "endTime", "description")
    return [one.get(name) for name in names] == [other.get(name) for name in names]


async def _serve(habits: Habits) -> None:
    async with CalendarServer(habits) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Habits(**orjson.loads(sys.argv[1]))))
