"""The order of a write: its rate-limit slot, its record in the state with the time, and then the request."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from connector_async import (
    Clock,
    DecodingError,
    RateLimit,
    Token,
    TokenSend,
)
from connector_async.sync import (
    Budget,
    Fate,
    StateError,
    SyncSettings,
)
from connector_async.sync.state.journal import Journal
from tests.support.calendar_server import CalendarServer, Habits
from tests.support.hostile import http
from tests.support.server_runs import ServerRuns, SteadyClock
from tests.support.state_rows import execute
from tests.support.sync_child import SyncProcess, wait_for
from tests.support.syncing import record
from tests.support.virtual_time import LoopClock, now, ticking

pytestmark = pytest.mark.row("S8")


def pending(path: Path) -> list[float]:
    """Return when the pending creates were sent, as the state says."""
    return [sent_at for (sent_at,) in execute(path, "SELECT sent_at FROM intents ORDER BY sent_at")]


@pytest.mark.virtual_time
@pytest.mark.parametrize("seconds", [12, 35])
async def test_create_lost_after_a_wait_is_not_sent_again(state_path: Path, seconds: int) -> None:
    records = [record(f"k{number}") for number in range(4)]
    habits = Habits(lag=8, throttle=[seconds], lose_creates=1)
    async with ticking(), CalendarServer(habits, clock=now) as server:
        report = await ServerRuns(server, state_path, LoopClock()).run(records)
        assert report.counts == {Fate.CREATED: 4}
        assert server.titles() == [f"Visit k{number}" for number in range(4)]


@pytest.mark.virtual_time
async def test_record_has_the_time_of_the_latest_attempt(state_path: Path) -> None:
    seen = []
    async with ticking(), CalendarServer(Habits(throttle=[35]), clock=now) as server:
        runs = ServerRuns(server, state_path, LoopClock(), rate_limit=RateLimit.unlimited())
        respond = server._respond

        async def respond_and_look(*streams: Any) -> None:
            if server.requests[-1].method == "POST":
                seen.append((pending(state_path), LoopClock().time()))
            await respond(*streams)

        server.responses = [respond_and_look]
        await runs.run([record("a")])
    assert len(seen) == 2
    for (sent_at,), at in seen:
        assert at - sent_at < 5
    assert seen[1][0][0] - seen[0][0][0] >= 35


@pytest.mark.virtual_time
async def test_create_without_a_slot_is_not_pending(state_path: Path) -> None:
    async with ticking(), CalendarServer(clock=now) as server:
        runs = ServerRuns(server, state_path, LoopClock(), rate_limit=RateLimit(2, per=1_000))
        task = asyncio.create_task(runs.run([record(f"k{number}") for number in range(3)], assume_empty=True))
        await asyncio.sleep(100)
        assert (server.writes(), pending(state_path)) == ({"POST": 1}, [])
        task.cancel()
        await asyncio.wait([task])


async def test_replay_after_a_refused_token_is_recorded_as_well(
    state_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renewing:
        tokens = 1

        async def token(self, _: str, __: TokenSend) -> Token:
            return Token(f"t-{self.tokens}")

        def invalidate(self, _: str, __: Token) -> None:
            self.tokens += 1
            server.habits.refuse = {}

    recorded = 0
    record_pending_create = Journal.record_pending_create

    async def count(self: Journal, *arguments: Any) -> None:
        nonlocal recorded
        recorded += 1
        await record_pending_create(self, *arguments)

    monkeypatch.setattr(Journal, "record_pending_create", count)
    async with CalendarServer(Habits(refuse={"acme POST": 401})) as server:
        runs = ServerRuns(server, state_path, Clock(), auth=Renewing(), rate_limit=RateLimit.unlimited())
        assert (await runs.run([record("a")])).counts == {Fate.CREATED: 1}
        assert (server.writes(), recorded) == ({"POST": 2}, 2)


async def test_create_whose_token_request_failed_is_not_pending(state_path: Path) -> None:
    class Garbled:
        async def token(self, _: str, __: TokenSend) -> Token:
            raise DecodingError("the token response does not match the contract")

        def invalidate(self, _: str, __: Token) -> None:
            pass

    async with CalendarServer() as server:
        runs = ServerRuns(server, state_path, SteadyClock(), auth=Garbled(), rate_limit=RateLimit.unlimited())
        assert (await runs.run([record("a")])).counts == {Fate.RETRYABLE: 1}
        assert pending(state_path) == []


class Stopping(SteadyClock):
    """Stands still, but for a process that is stopped in some of the writes of pending creates."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stops: int) -> None:
        super().__init__()
        self.records = 0
        write = Journal.record_pending_create

        async def stopped(journal: Journal, *arguments: Any) -> None:
            await write(journal, *arguments)
            self.records += 1
            if self.records <= stops:
                self.now += 60

        monkeypatch.setattr(Journal, "record_pending_create", stopped)


async def test_record_is_renewed_if_the_process_was_stopped_meanwhile(
    state_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Stopping(monkeypatch, 1)
    async with CalendarServer() as server:
        runs = ServerRuns(server, state_path, clock, rate_limit=RateLimit.unlimited())
        assert (await runs.run([record("a")])).counts == {Fate.CREATED: 1}
        assert clock.records == 2


async def test_run_ends_if_no_record_is_written_in_time(state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with CalendarServer() as server:
        runs = ServerRuns(server, state_path, Stopping(monkeypatch, 9), rate_limit=RateLimit.unlimited())
        with pytest.raises(StateError, match="longer than 5 s"):
            await runs.run([record("a")])
        assert server.writes() == {}


# The grace period of an earlier run's creates.


async def lose_one(runs: ServerRuns) -> None:
    runs.server.habits.lose_creates = 1
    budget = Budget(runs.clock, max_duration=1)
    assert (await runs.run([record("a")], budget)).counts == {Fate.UNKNOWN: 1}


@pytest.mark.parametrize(("jump", "waited"), [(0, 29), (12, 17), (3_600, 0), (-3_600, 30)])
async def test_next_run_waits_for_the_rest_of_the_grace_period(state_path: Path, jump: float, waited: float) -> None:
    clock = SteadyClock()
    async with CalendarServer() as server:
        runs = ServerRuns(server, state_path, clock, rate_limit=RateLimit.unlimited())
        await lose_one(runs)
        clock.offset = jump
        before = clock.monotonic()
        assert (await runs.run([record("a")])).counts == {Fate.CREATED: 1}
        assert clock.monotonic() - before == pytest.approx(waited)
        assert server.writes() == {"POST": 1}


async def test_short_runs_come_to_the_end_of_the_grace_period(state_path: Path) -> None:
    clock = SteadyClock()
    async with CalendarServer() as server:
        runs = ServerRuns(server, state_path, clock, rate_limit=RateLimit.unlimited())
        await lose_one(runs)
        reports = [await runs.run([record("a")], Budget(clock, max_duration=11)) for _ in range(3)]
        assert [report.counts for report in reports] == [{Fate.UNKNOWN: 1}, {Fate.UNKNOWN: 1}, {Fate.CREATED: 1}]


# A process that is stopped, and wakes up when another run has taken over.


class HoldingServer(CalendarServer):
    """Holds the first request of a method until `released`, and refuses it then as one too many."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method
        self.held = asyncio.Event()
        self.released = asyncio.Event()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self.requests[-1]
        if request.method != self.method or "/authentication/" in request.target or self.held.is_set():
            await super()._respond(reader, writer)
            return
        self.held.set()
        await self.released.wait()
        writer.write(http(429, b"{}"))


@pytest.mark.parametrize(("method", "title"), [("POST", "Visit a"), ("PUT", "Third")])
async def test_process_that_wakes_up_after_a_takeover_sends_nothing(
    state_path: Path, tmp_path: Path, method: str, title: str
) -> None:
    async with HoldingServer(method) as server:
        runs = ServerRuns(server, state_path, Clock(), rate_limit=RateLimit.unlimited())
        runs.settings = SyncSettings(grace=0)
        if method == "PUT":
            await runs.run([record("a")])
        syncing = SyncProcess(server.base_url, tmp_path)
        await syncing.write_source([record("a", "" if method == "POST" else "Second")])
        process = await syncing.start()
        try:
            assert process.pid is not None
            await server.held.wait()
            os.kill(process.pid, signal.SIGSTOP)
            state_path.with_name(state_path.name + ".lock").unlink(missing_ok=True)  # as on a file system without locks
            assert (await runs.run([record("a", title)])).counts[Fate.RETRYABLE] == 0
            before = server.writes()
            os.kill(process.pid, signal.SIGCONT)
            server.released.set()
            await wait_for(process)
        finally:
            process.kill()
        assert process.exitcode == 1
        assert (server.writes(), server.titles()) == (before, [title])
