"""The demonstration: every operation for two tenants, many calls at a time, and both sides' counts of them."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import attrs
from rich.console import Console
from rich.table import Table

from connector_async.appointments import AppointmentService
from connector_async.auth import ClientCredentials
from connector_async.bulk import bulk
from connector_async.cli.progress import BulkProgress
from connector_async.models import Appointment, NewAppointment
from connector_async.ratelimit import RateLimit
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    LimitWindow,
    Operation,
    RequestLog,
    Sandbox,
    SandboxLimit,
)
from connector_async.session import ConnectorSession

T = TypeVar("T")
R = TypeVar("R")

_TENANTS: Final = ("acme", "globex")
_OPERATIONS: Final[Sequence[Operation]] = ("token", "create", "preview", "get", "update", "delete")
# A hundred times what the API documents, so that the demonstration does not take an hour.
_REQUESTS_PER_MINUTE: Final = 6_000
_SERVERS_LIMIT: Final = SandboxLimit(requests=_REQUESTS_PER_MINUTE, per=60.0, window=LimitWindow.SLIDING)
_CLIENTS_LIMIT: Final = RateLimit(limit=_REQUESTS_PER_MINUTE, per=60, burst=100)
_FIRST_DAY: Final = datetime(2024, 1, 15, 8, tzinfo=UTC)


@attrs.frozen
class Row:
    """One line of the table."""

    operation: Operation
    client: int
    """Successful calls, as the client counted them; tokens: one for each tenant."""
    server: int
    """Requests, as the server logged them, whatever it answered."""
    seconds: float | None
    """From the first call to the last answer; `None` for tokens, which are fetched within other calls."""


async def run_demo(console: Console, *, appointments: int, concurrency: int) -> bool:
    """Run it and print its table.

    Returns:
        Whether the server logged exactly what the client did, refused none of it for its limit, and showed it all in
        the previews.
    """
    credentials = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    async with (
        Sandbox(limit=_SERVERS_LIMIT) as sandbox,
        ConnectorSession(
            sandbox.base_url, tenant_id=_TENANTS[0], auth=credentials, rate_limit=_CLIENTS_LIMIT
        ) as session,
    ):
        console.print(
            f"A server of the API listens on {sandbox.base_url}, with the tenants {' and '.join(_TENANTS)}; "
            f"each may send {_REQUESTS_PER_MINUTE:,} requests a minute."
        )
        work = _Work(
            {tenant: AppointmentService(session.for_tenant(tenant)) for tenant in _TENANTS}, concurrency, console
        )
        previewed_all = await _drive(work, appointments)
        rows = [work.row(operation, sandbox.log) for operation in _OPERATIONS]
        agreed = all(row.client == row.server for row in rows)
        refused = sandbox.log.count(status=429)
    _print_table(console, rows)
    console.print("The server logged just these calls." if agreed else "The counts differ.", style="bold")
    console.print(f"It refused {refused or 'none'} of them for its limit.", style="bold")
    if not previewed_all:
        console.print("The previews do not show what was created.", style="bold")
    return agreed and previewed_all and not refused


class _Work:
    """Makes calls for the tenants, a bounded number at a time, and counts what succeeded."""

    def __init__(self, services: dict[str, AppointmentService], concurrency: int, console: Console) -> None:
        self.services = services
        self._concurrency = concurrency
        self._console = console
        self._calls: Counter[Operation] = Counter({"token": len(services)})
        self._seconds: dict[Operation, float] = {}

    async def each(
        self,
        operation: Operation,
        call: Callable[[AppointmentService, T], Awaitable[R]],
        items: Sequence[tuple[str, T]],
    ) -> list[tuple[str, R]]:
        """Make one call for each (tenant, item), and return each result with its tenant, in the items' order.

        Raises:
            Exception: What a call raised.
        """

        async def make(item: tuple[str, T]) -> tuple[str, R]:
            tenant, argument = item
            return tenant, await call(self.services[tenant], argument)

        started_at = time.perf_counter()
        results: list[tuple[str, R]] = []
        progress = BulkProgress(self._console, operation, pace=len(self.services) / _CLIENTS_LIMIT.interval)
        progress.begin(len(items))
        try:
            async for outcome in bulk(make, items, concurrency=self._concurrency, ordered=True):
                progress.advance(outcome)
                if outcome.error is not None:
                    raise outcome.error
                results += [] if outcome.result is None else [outcome.result]
        finally:
            progress.end()
        self._calls[operation] += len(results)
        self._seconds[operation] = time.perf_counter() - started_at
        return results

    def row(self, operation: Operation, log: RequestLog) -> Row:
        """Return what the client and the server counted of one operation."""
        return Row(operation, self._calls[operation], log.count(operation=operation), self._seconds.get(operation))


async def _drive(work: _Work, appointments: int) -> bool:
    drafts = [(_TENANTS[number % len(_TENANTS)], _draft(number)) for number in range(appointments)]
    created = await work.each("create", AppointmentService.create, drafts)
    previews = await work.each("preview", _collect_preview, [(tenant, None) for tenant in _TENANTS])
    ids = [(tenant, appointment.appointment_id) for tenant, appointment in created]
    await work.each("get", AppointmentService.get, ids)
    await work.each("update", _rename, ids[::2])
    await work.each("delete", AppointmentService.delete, ids[::3])
    previewed = {(tenant, appointment) for tenant, page in previews for appointment in page}
    return previewed == set(created)


async def _collect_preview(service: AppointmentService, _: None) -> list[Appointment]:
    return await service.preview().collect()


async def _rename(service: AppointmentService, appointment_id: str) -> Appointment | None:
    return await service.update(appointment_id, title="Moved to the large room")


def _draft(number: int) -> NewAppointment:
    start_time = _FIRST_DAY + timedelta(hours=number)
    return NewAppointment(
        title=f"Visit {number}",
        start_time=start_time,
        end_time=start_time + timedelta(minutes=45),
        description="Made by the demonstration",
    )


def _print_table(console: Console, rows: Sequence[Row]) -> None:
    table = Table("operation", title="What happened")
    for heading in ("client's count", "server's count", "seconds", "calls a second"):
        table.add_column(heading, justify="right")
    for row in rows:
        timing = (f"{row.seconds:.3f}", f"{row.client / row.seconds:,.0f}") if row.seconds else ("", "")
        table.add_row(row.operation, str(row.client), str(row.server), *timing)
    console.print(table)
