"""A server that answers everything with one ready appointment, in a process of its own, to be no limit itself.

A preview is a hundred pages of a thousand appointments, each of which takes 50 ms.
"""

import asyncio
import contextlib
import functools
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator

_BODY = (
    b'{"appointmentId":"7c01f588-b746-4dcd-8f18-8219262767f1","title":"Meeting with Client",'
    b'"startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T11:00:00Z","description":"Quarterly review meeting"}'
)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_ANSWER = _HEAD % len(_BODY) + _BODY
_TOKEN = b'{"accessToken":"%s","expiresIn":3600}' % (b"x" * 300)
_TOKEN_ANSWER = _HEAD % len(_TOKEN) + _TOKEN
_FAULT = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_FAULTLESS = 100

PAGES = 100
ITEMS = 1_000
"""On each page."""
DELAY = 0.05
"""Seconds for each page."""

_requests = itertools.count(1)


@functools.cache
def _page(number: int) -> bytes:
    items = b",".join(
        _BODY.replace(b"7c01f588-b746-4dcd-8f18-8219262767f1", b"%d" % identifier)
        for identifier in range(number * ITEMS, (number + 1) * ITEMS)
    )
    body = b'{"items":[%s],"page":%d,"totalPages":%d}' % (items, number, PAGES)
    return _HEAD % len(body) + body


class _Answering(asyncio.Protocol):
    """Counts the ends of heads, which is enough: no body has one in it."""

    faults = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if b"/authentication/token" in data:
            self._transport.write(_TOKEN_ANSWER)
            return
        if b"/preview" in data:
            asked = re.search(rb"[?&]page=(\d+)", data)
            answer = _page(1 if asked is None else int(asked[1]))
            asyncio.get_running_loop().call_later(DELAY, self._transport.write, answer)
            return
        for _ in range(data.count(b"\r\n\r\n")):
            failing = self.faults and next(_requests) % _FAULTLESS == 0
            self._transport.write(_FAULT if failing else _ANSWER)


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
