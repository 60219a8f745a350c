"""A server in a process of its own that sends ready responses, so that it is not the limit itself.

Each request gets the same appointment. A preview has a hundred pages of a thousand appointments, and each page takes
50 ms. `/usage` returns the nanoseconds of CPU that the server has used. Below `/ok` a response has `"ok":true`, as
Slack's API does; without it Slack's client raises an error.
"""

import asyncio
import contextlib
import functools
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

TITLE: Final = "Meeting with Client"
PAGES: Final = 100
ITEMS: Final = 1_000
"""Items of each page."""
DELAY: Final = 0.05
"""Seconds that the server takes for each page."""

_BODY: Final = (
    b'{"appointmentId":"7c01f588-b746-4dcd-8f18-8219262767f1","title":"%s",'
    b'"startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T11:00:00Z","description":"Quarterly review meeting"}'
) % TITLE.encode()
_FAULT: Final = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_CALLS_PER_FAULT: Final = 100
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PAGE: Final = re.compile(rb"[?&]page=(\d+)")

_requests = itertools.count(1)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


_APPOINTMENT: Final = _response(_BODY)
_APPOINTMENT_OK: Final = _response(b'{"ok":true,' + _BODY[1:])
_TOKEN: Final = _response(b'{"accessToken":"%s","expiresIn":3600}' % (b"x" * 300))


@functools.cache
def _page(number: int) -> bytes:
    items = b",".join(
        _BODY.replace(b"7c01f588-b746-4dcd-8f18-8219262767f1", b"%d" % identifier)
        for identifier in range(number * ITEMS, (number + 1) * ITEMS)
    )
    return _response(b'{"items":[%s],"page":%d,"totalPages":%d}' % (items, number, PAGES))


class _Server(asyncio.Protocol):
    faults = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        data = self._pending + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            next_start = end + 4
            if not data.startswith(b"GET "):
                length = _LENGTH.search(data, 0, end)
                next_start += 0 if length is None else int(length[1])
                if next_start > len(data):
                    break
            self._respond(data[:end])
            data = data[next_start:]
        self._pending = data

    def _respond(self, head: bytes) -> None:
        path = head[: head.find(b"\r\n")]
        if b"/appointment/preview" in path:
            number = _PAGE.search(path)
            page = _page(1 if number is None else int(number[1]))
            asyncio.get_running_loop().call_later(DELAY, self._transport.write, page)
        elif b"/appointment" in path:
            fails = self.faults and next(_requests) % _CALLS_PER_FAULT == 0
            self._transport.write(_FAULT if fails else _APPOINTMENT_OK if b" /ok/" in path else _APPOINTMENT)
        elif path.startswith(b"GET /usage "):
            self._transport.write(_response(b"%d" % time.process_time_ns()))
        else:
            self._transport.write(_TOKEN)


@contextlib.contextmanager
def running(*, faults: bool = False) -> Iterator[str]:
    """Run the server and yield its base URL. With `faults`, every hundredth response is a 500."""
    command = [sys.executable, "-m", "benchmarks.server", *(["--faults"] if faults else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _serve() -> None:
    _Server.faults = "--faults" in sys.argv
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
