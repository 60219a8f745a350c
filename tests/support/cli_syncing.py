"""Sources for the sync commands, and a server that holds requests until a test releases them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, TypeVar

import orjson

from connector_async import AppointmentService, ClientCredentials, ConnectorSession, RateLimit
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DelayFault, Sandbox
from connector_async.testing import ThreadedSandbox
from tests.support.command_line import COMMAND, PERSONAL

T = TypeVar("T")

TITLE, DESCRIPTION = f"{PERSONAL} visit", f"{PERSONAL} secrets"
TENANTS = ("acme", "globex", "initech")
HELD = DelayFault(1)
"""The fault of the requests that `holding` holds. Its seconds do not count."""


def row(key: str, tenant_id: str = "acme", **fields: str) -> dict[str, str]:
    """Return a record as a row of a source."""
    return {
        "key": key,
        "tenant_id": tenant_id,
        "title": f"{TITLE} {key}",
        "start_time": "2024-01-15T10:00:00Z",
        "end_time": "2024-01-15T10:30:00Z",
        "description": DESCRIPTION,
        **fields,
    }


def write_source(path: Path, rows: Iterable[dict[str, str]]) -> str:
    """Write a source of JSON Lines, and return its path."""
    path.write_bytes(b"".join(orjson.dumps(fields) + b"\n" for fields in rows))
    return str(path)


def fill(source: Path, count: int = 4, *tenants: str) -> str:
    """Write a source with `count` records of each tenant, by default of `TENANTS`, and return its path."""
    return write_source(source, [row(f"k{number}", tenant) for tenant in tenants or TENANTS for number in range(count)])


def call_server(sandbox: Sandbox, tenant_id: str, call: Callable[[AppointmentService], Awaitable[T]]) -> T:
    """Make a call for a tenant without the command."""

    async def main() -> T:
        auth = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        async with ConnectorSession(
            sandbox.base_url, tenant_id=tenant_id, auth=auth, rate_limit=RateLimit.unlimited()
        ) as session:
            return await call(AppointmentService(session))

    return asyncio.run(main())


def titles(sandbox: Sandbox, tenant_id: str = "acme") -> list[str]:
    """Return the titles of the appointments on the server."""
    appointments = call_server(sandbox, tenant_id, lambda service: service.preview().collect())
    return sorted(appointment.title for appointment in appointments)


def delete_on_server(sandbox: Sandbox, tenant_id: str, *keys: str) -> None:
    """Delete the appointments with these keys from the server; without keys, all of the tenant."""

    async def delete(service: AppointmentService) -> None:
        for appointment in await service.preview().collect():
            if not keys or appointment.title.rpartition(" ")[2] in keys:
                await service.delete(appointment.appointment_id)

    call_server(sandbox, tenant_id, delete)


def count_writes(sandbox: Sandbox) -> dict[str, int]:
    """Return how many writes of each kind the server has received."""
    return {
        operation: count
        for operation in ("create", "update", "delete")
        if (count := sandbox.log.count(operation=operation))
    }


class Gate:
    """Holds the requests that a `HELD` fault hits."""

    def __init__(self) -> None:
        self.sandbox: Sandbox
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: asyncio.Event | None = None
        self.waiting = 0

    async def sleep(self, _: float) -> None:
        """Replace the sleep of the sandbox."""
        self._loop, self._open = asyncio.get_running_loop(), self._open or asyncio.Event()
        self.waiting += 1
        await self._open.wait()

    def wait_for(self, count: int) -> None:
        """Wait until `count` requests are held."""
        _wait_until(lambda: self.waiting >= count)

    def wait_until_done(self, count: int) -> None:
        """Wait until the server has handled `count` requests that were held."""
        _wait_until(lambda: self.sandbox.log.count(fault=HELD.name) >= count)

    def release(self) -> None:
        """Release the requests, and hold no more."""
        if self._loop is not None and self._open is not None:
            self._loop.call_soon_threadsafe(self._open.set)


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def holding(**options: Any) -> Iterator[Gate]:
    """Serve a sandbox that holds requests with a `HELD` fault until the gate is released."""
    gate = Gate()
    with ThreadedSandbox(sleep=gate.sleep, **options) as gate.sandbox:
        try:
            yield gate
        finally:
            gate.release()


@contextmanager
def started(*arguments: str) -> Iterator["Popen[str]"]:
    """Start a command in a process of its own, and kill it at the end."""
    with Popen([*COMMAND, *arguments], stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
