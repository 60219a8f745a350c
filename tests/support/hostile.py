"""A server of raw bytes: it sends the next of its scripted responses for each request, and records the requests."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

import attrs

ScriptedResponse = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@attrs.frozen
class ReceivedRequest:
    """One request as it was received."""

    method: str
    target: str
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes


def http(status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> bytes:
    """Return a response. `length` replaces the true `Content-Length`. Underscores in header names become hyphens."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body) if length is None else length)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Reason\r\n{head}\r\n".encode() + body


async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection without a response."""
    writer.close()


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Never respond, and wait until the client closes the connection."""
    await reader.read()


class Expiring:
    """A response that never comes: the request ends the time limit that `limit` has set."""

    def __init__(self) -> None:
        self._limit: asyncio.Timeout | None = None

    def limit(self) -> asyncio.Timeout:
        """Return a time limit that ends when a request has arrived."""
        self._limit = asyncio.timeout(None)
        return self._limit

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        await hang(reader, writer)


class HostileServer:
    """Listens on the loopback. The last response is sent again for every further request."""

    def __init__(self, *responses: ScriptedResponse, ssl_context: ssl.SSLContext | None = None) -> None:
        self.responses = list(responses)
        self._ssl_context = ssl_context
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.closed_by_client = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._ssl_context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            async for request in _requests(reader):
                self.requests.append(request)
                response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
                if isinstance(response, bytes):
                    writer.write(response)
                    await writer.drain()
                else:
                    await response(reader, writer)
            self.closed_by_client.set()
        except ConnectionError:
            self.closed_by_client.set()
        except asyncio.CancelledError:
            pass  # asyncio's streams report the cancellation of a handler as an error
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[ReceivedRequest]:
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request_line, *lines = head.strip().split("\r\n")
            method, target, _ = request_line.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            yield ReceivedRequest(method, target, headers, body)
