"""Errors of a middleware or a token provider: they fail what they concern, and never the whole run."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connector_async import (
    CallNext,
    ClientCredentials,
    ConnectorSession,
    OutgoingRequest,
    RateLimit,
    Response,
    TokenFromCallable,
)
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox
from connector_async.sync import Calendar, Fate, Mode, Pull, PullOptions, SourceRecord, State
from tests.support.syncing import ACME, EVERYTHING, Syncing, record

GLOBEX = Calendar("globex")
RECORDS = [record("a"), record("b", calendar=GLOBEX)]
CREDENTIALS = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)


class VaultError(Exception):
    """An error of an application's own."""


@asynccontextmanager
async def failing_for_acme(
    path: Path, fails: Callable[[OutgoingRequest], bool], *, after: bool = False
) -> AsyncIterator[Syncing]:
    """Open a sync whose middleware raises for requests of one tenant, before or after they are sent."""

    async def middleware(request: OutgoingRequest, call_next: CallNext) -> Response:
        is_chosen = request.tenant_id == "acme" and fails(request)
        response = None if is_chosen and not after else await call_next(request)
        if is_chosen or response is None:
            raise VaultError("personal")
        return response

    async with (
        Sandbox() as sandbox,
        ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=CREDENTIALS,
            rate_limit=RateLimit.unlimited(),
            middlewares=[middleware],
        ) as session,
    ):
        yield Syncing(sandbox, session, path, session.clock)


@pytest.mark.parametrize(
    ("operation", "records"),
    [
        ("create", [*RECORDS, record("c"), record("d", calendar=GLOBEX)]),
        ("update", [record("a", "New"), record("b", "New", calendar=GLOBEX)]),
        ("delete", [record("c"), record("d", calendar=GLOBEX)]),
        ("preview", [record("a", "New"), RECORDS[1]]),
    ],
)
async def test_middleware_that_raises_for_one_tenant_fails_what_it_concerns(
    state_path: Path, operation: str, records: list[SourceRecord]
) -> None:
    broken = {""}
    async with failing_for_acme(state_path, lambda request: request.operation in broken) as sync:
        await sync.run(RECORDS)
        broken.add(operation)
        report = await sync.run(records, mode=Mode.CHECK, max_delete=EVERYTHING)
        (reason,) = report.tenants["acme"].reasons
        assert reason.error == "ApplicationError"
        assert "raised VaultError" in reason.reason
        assert report.tenants["globex"].reasons == []
        broken.clear()
        report = await sync.run(records, mode=Mode.CHECK, max_delete=EVERYTHING)
        assert report.tenants["acme"].reasons == []
        assert await sync.titles() == sorted(each.appointment.title for each in records if each.calendar == ACME)


async def test_update_that_was_sent_is_not_recorded_as_not_sent(state_path: Path) -> None:
    broken = {"update"}
    async with failing_for_acme(state_path, lambda request: request.operation in broken, after=True) as sync:
        await sync.run(RECORDS)
        report = await sync.run([record("a", "New"), RECORDS[1]])
        assert report.counts[Fate.RETRYABLE] == 1
        assert await sync.titles() == ["New"]
        broken.clear()
        # The source takes its change back. The server has it, and so it is sent again.
        await sync.run(RECORDS)
        assert await sync.titles() == ["Visit a"]


@pytest.mark.parametrize("operation", ["preview", "get"])
async def test_pull_of_another_calendar_goes_on(state_path: Path, operation: str) -> None:
    broken = {""}
    async with failing_for_acme(state_path, lambda request: request.operation in broken) as sync:
        await sync.run(RECORDS)
        async with await State.open(state_path.with_name("pull.db"), owner="test") as state:
            options = PullOptions(calendars=[ACME, GLOBEX], max_delete=EVERYTHING, allow_empty=True)
            assert len([change async for change in Pull(state, sync.service, options)]) == 2
            await sync.delete("Visit a")  # a read confirms it
            await sync.delete("Visit b", calendar=GLOBEX)
            broken.add(operation)
            (change,) = [change async for change in Pull(state, sync.service, options)]
            assert change.calendar == GLOBEX


async def test_token_provider_that_raises_for_one_tenant_fails_that_one(state_path: Path) -> None:
    async with (
        Sandbox() as sandbox,
        ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=CREDENTIALS,
            rate_limit=RateLimit.unlimited(),
        ) as session,
    ):

        async def fetch(tenant_id: str) -> str:
            if tenant_id == "acme":
                raise VaultError
            return (await session.for_tenant(tenant_id).fetch_token()).value.reveal()

        async with ConnectorSession(
            sandbox.base_url, tenant_id="acme", auth=TokenFromCallable(fetch), rate_limit=RateLimit.unlimited()
        ) as other:
            report = await Syncing(sandbox, other, state_path, other.clock).run(RECORDS)
        assert report.counts == {Fate.CREATED: 1, Fate.RETRYABLE: 1}
