"""The pages of a sandbox for a browser on the same machine: its appointments, requests and faults, and its API.

They are below paths that no operation of the API has, and count neither as requests nor against a rate limit.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

import orjson
from aiohttp import hdrs, web
from attrs import asdict

from .faults import DelayFault, Fault, FaultRates, Faults, fault_named
from .models import PageSelection, PreviewRange, User
from .request_log import LoggedRequest, RequestLog
from .storage import Storage

_PREFIX: Final = "/_sandbox/"
_STATIC: Final = Path(__file__).parent / "static"
_PAGES: Final[Mapping[str, str]] = {"/": "sandbox.html", "/docs": "docs.html"}
_OWN_FILES: Final = frozenset({"sandbox.css", "sandbox.js", "docs.js"})
_VIEWER_FILES: Final = frozenset({"swagger-ui.css", "swagger-ui-bundle.js"})
_TYPES: Final[Mapping[str, str]] = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_JSON: Final = "application/json"
_HEADERS: Final[Mapping[str, str]] = {
    # Swagger UI has styles and images within its elements.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_OFFERED_FAULTS: Final = (
    "status-500",
    "status-503",
    "delay-1",
    "drop-before",
    "drop-after",
    "truncated",
    "wrong-length",
    "slow-drip",
    "revoked-token",
)
_SHOWN_REQUESTS: Final = 100
_MOST_APPOINTMENTS: Final = 1_000
_QUEUED_EVENTS: Final = 1_000
_SECONDS_BETWEEN_COMMENTS: Final = 15.0


class BrowserPages:
    """Serves the pages, and the data and files that they load."""

    def __init__(self, *, storage: Storage, log: RequestLog, faults: Faults) -> None:
        self._storage = storage
        self._log = log
        self._faults = faults
        self._followers: set[asyncio.Queue[bytes | None]] = set()

    def serves(self, request: web.BaseRequest) -> bool:
        """Return whether a request is one of a browser on this machine for a page or what a page loads.

        The `Host` must be the loopback as well: otherwise the name of a website could be made to resolve to it.
        """
        path = request.rel_url.raw_path
        if path in _PAGES:
            is_meant = request.method == "GET" and "text/html" in request.headers.get(hdrs.ACCEPT, "")
        else:
            is_meant = path.startswith(_PREFIX)
        return is_meant and _is_loopback(request.remote) and _is_loopback(_host_name(request))

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to a request that `serves` has accepted."""
        path = request.rel_url.raw_path
        name = path.removeprefix(_PREFIX)
        match request.method, name:
            case "GET", _ if path in _PAGES:
                return _file(_STATIC / (_PAGES[path] if path == "/" or _viewer_folder() else "no-viewer.html"))
            case "GET", _ if name in _OWN_FILES:
                return _file(_STATIC / name)
            case "GET", _ if name in _VIEWER_FILES and (folder := _viewer_folder()) is not None:
                return _file(folder / name)
            case "GET", "state":
                return await self._state()
            case "GET", "week":
                return await self._week(request)
            case "GET", "events":
                return await self._stream_events(request)
            case "POST", "faults" if _is_from_page(request):
                return await self._set_faults(request)
        return _response(b"", "text/plain", status=404)

    def close(self) -> None:
        """End the streams of events, for which the server would wait otherwise."""
        for queue in self._followers:
            queue.put_nowait(None)

    async def _state(self) -> web.Response:
        rates = {_name_of(fault): rate for fault, rate in self._faults.rates.items()}
        names = dict.fromkeys((*_OFFERED_FAULTS, *rates))
        return _json_response(
            {
                "calendars": [asdict(calendar) for calendar in await self._storage.list_calendars()],
                "faults": [{"name": name, "rate": rates.get(name, 0)} for name in names],
                "requests": [_as_event(entry, None) for entry in self._log.entries[-_SHOWN_REQUESTS:]],
            }
        )

    async def _week(self, request: web.BaseRequest) -> web.Response:
        query = request.rel_url.query
        try:
            start = datetime.fromisoformat(query["start"]).replace(tzinfo=UTC)
            week = PreviewRange(
                user=User(query["domain_id"], query["ad_id"]), start=start, end=start + timedelta(days=7)
            )
        except (KeyError, ValueError, OverflowError):
            return _response(b"", "text/plain", status=400)
        selection = PageSelection(limit=_MOST_APPOINTMENTS)
        page = await self._storage.list_overlapping(query.get("tenant", ""), week, selection)
        return _json_response([{"title": one.title, "start": one.start, "end": one.end} for one in page.appointments])

    async def _set_faults(self, request: web.BaseRequest) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            faults = [fault_named(name) for name in body["faults"]]
            rates = FaultRates({fault: body["share"] / len(faults) for fault in faults})
        except (KeyError, TypeError, ValueError, AttributeError):
            return _response(b"", "text/plain", status=400)
        self._faults.set_rates(rates)
        return await self._state()

    async def _stream_events(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send each request as it is logged, as server-sent events (the living standard of HTML)."""
        response = web.StreamResponse(headers={**_HEADERS, hdrs.CONTENT_TYPE: "text/event-stream"})
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()

        def send(entry: LoggedRequest) -> None:
            if queue.qsize() < _QUEUED_EVENTS:  # a browser that does not read must not fill the memory
                queue.put_nowait(b"data: " + orjson.dumps(_as_event(entry, time.time())) + b"\n\n")

        self._followers.add(queue)
        self._log.add_listener(send)
        try:
            await response.prepare(request)
            await response.write(b": these are the requests of the sandbox\n\n")
            while (event := await _next_event(queue)) is not None:
                await response.write(event)
        except ConnectionError:  # the browser has left the page
            pass
        finally:
            self._log.remove_listener(send)
            self._followers.discard(queue)
        return response


async def _next_event(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    """Return the next event, or a comment that finds out whether the browser is still there."""
    try:
        async with asyncio.timeout(_SECONDS_BETWEEN_COMMENTS):
            return await queue.get()
    except TimeoutError:
        return b":\n\n"


def _as_event(entry: LoggedRequest, at: float | None) -> dict[str, object]:
    return {
        "at": at,
        "id": entry.request_id,
        "method": entry.method,
        "path": entry.path,
        "operation": entry.operation,
        "tenant": entry.tenant,
        "status": entry.status,
        "fault": entry.fault,
        "applied": entry.applied,
    }


def _name_of(fault: Fault) -> str:
    """Return the name by which `fault_named` returns the fault."""
    return f"{fault.name}-{fault.seconds:g}" if isinstance(fault, DelayFault) else fault.name


def _is_from_page(request: web.BaseRequest) -> bool:
    """Return whether a request that changes something was sent by a page of this sandbox, not by another website."""
    return request.content_type == _JSON and request.headers.get("Origin") == f"http://{request.headers[hdrs.HOST]}"


def _host_name(request: web.BaseRequest) -> str:
    host = request.headers.get(hdrs.HOST, "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_loopback(name: str | None) -> bool:
    if name == "localhost":
        return True
    try:
        address = ip_address(name or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _viewer_folder() -> Path | None:
    """Return the folder with the files of Swagger UI, without an import of the package that has them."""
    package = find_spec("flask_swagger_ui")
    return None if package is None or package.origin is None else Path(package.origin).parent / "dist"


def _file(path: Path) -> web.Response:
    return _response(path.read_bytes(), _TYPES[path.suffix])


def _json_response(value: object) -> web.Response:
    return _response(orjson.dumps(value), _JSON)


def _response(body: bytes, content_type: str, *, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type=content_type, charset="utf-8", headers=_HEADERS)
