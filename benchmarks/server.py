"""A server that answers everything with one ready appointment, in a process of its own, to be no limit itself."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

_BODY = (
    b'{"appointmentId":"7c01f588-b746-4dcd-8f18-8219262767f1","title":"Meeting with Client",'
    b'"startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T11:00:00Z","description":"Quarterly review meeting"}'
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class _Answering(asyncio.Protocol):
    """Counts the ends of heads, which is enough for requests that have no body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER * data.count(b"\r\n\r\n"))


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run the server and yield its base URL."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.server"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
