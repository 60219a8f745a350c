"""A server that answers everything with one ready appointment, in a process of its own, to be no limit itself.

A preview is a hundred pages of a thousand appointments, each of which takes 20 ms. `/usage` tells the seconds of CPU
that the server has used. Below `/ok` an answer says `"ok":true`, as Slack's do, without which its client raises.
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
"""On each page."""
DELAY: Final = 0.05
"""Seconds for each page."""

_BODY: Final = (
    b'{"appointmentId":"7c01f588-b746-4dcd-8f18-8219262767f1","title":"%s",'
    b'"startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T11:00:00Z","description":"Quarterly review meeting"}'
) % TITLE.encode()
_FAULT: Final = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_FAULTLESS: Final = 100
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PAGE: Final = re.compile(rb"[?&]page=(\d+)")

_requests = itertools.count(1)


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


_READY: Final = _answer(_BODY)
_READY_OK: Final = _answer(b'{"ok":true,' + _BODY[1:])
_TOKEN: Final = _answer(b'{"accessToken":"%s","expiresIn":3600}' % (b"x" * 300))


@functools.cache
def _page(number: int) -> bytes:
    items = b",".join(
        _BODY.replace(b"7c01f588-b746-4dcd-8f18-8219262767f1", b"%d" % identifier)
        for identifier in range(number * ITEMS, (number + 1) * ITEMS)
    )
    return _answer(b'{"items":[%s],"page":%d,"totalPages":%d}' % (items, number, PAGES))


class _Answering(asyncio.Protocol):
    faults = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        data = self._pending + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            following = end + 4
            if not data.startswith(b"GET "):
                length = _LENGTH.search(data, 0, end)
                following += 0 if length is None else int(length[1])
                if following > len(data):
                    break
            self._answer(data[:end])
            data = data[following:]
        self._pending = data

    def _answer(self, head: bytes) -> None:
        path = head[: head.find(b"\r\n")]
        if b"/appointment/preview" in path:
            asked = _PAGE.search(path)
            page = _page(1 if asked is None else int(asked[1]))
            asyncio.get_running_loop().call_later(DELAY, self._transport.write, page)
        elif b"/appointment" in path:
            failing = self.faults and next(_requests) % _FAULTLESS == 0
            self._transport.write(_FAULT if failing else _READY_OK if b" /ok/" in path else _READY)
        elif path.startswith(b"GET /usage "):
            self._transport.write(_answer(b"%d" % time.process_time_ns()))
        else:
            self._transport.write(_TOKEN)


@contextlib.contextmanager
def running(*, faults: bool = False) -> Iterator[str]:
    """Run the server and yield its base URL. With `faults`, each hundredth answer is a 500."""
    command = [sys.executable, "-m", "benchmarks.server", *(["--faults"] if faults else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _serve() -> None:
    _Answering.faults = "--faults" in sys.argv
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
