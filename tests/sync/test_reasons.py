"""Why something failed: in the report and in the state, at once if it is permanent, and for nobody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector_async import AppointmentService, ConnectorError, ConnectorSession, RateLimit, RetryPolicy, StaticToken
from connector_async.sandbox import StatusFault
from connector_async.sync import (
    BulkSync,
    Calendar,
    Conflict,
    ConflictRules,
    Fate,
    GuardError,
    Mode,
    Policy,
    Pull,
    PullOptions,
    RunReport,
    SourceRecord,
    State,
    Stopped,
    SyncOptions,
    SyncSettings,
    explain_key,
)
from tests.support.calendar_server import CalendarServer, Habits
from tests.support.syncing import ACME, ListSource, MemorySource, record, syncing

GLOBEX = Calendar("globex")
RECORDS = [record(key, calendar=calendar) for calendar in (ACME, GLOBEX) for key in "abc"]
REFUSED = "not enabled for this tenant"

CASES = {
    "unreachable": (Habits(), "ConnectFailedError", None),
    "401": (Habits(refuse={"acme": 401}), "AuthenticationError", 401),
    "403": (Habits(refuse={"acme": 403}), "ForbiddenError", 403),
    "404": (Habits(refuse={"acme": 404}), "NotFoundError", 404),
    "500": (Habits(refuse={"acme": 500}), "ServerError", 500),
    "undecodable": (Habits(garbled_previews=("acme",)), "DecodingError", None),
}
LOOKS = [(case, mode) for case in CASES for mode in (Mode.TRUST, Mode.CHECK)]
LOOKS.remove(("undecodable", Mode.TRUST))  # it reads no preview
PERMANENT = ("403", "404", "undecodable")


@attrs.define
class Runs:
    """Runs over one state, without a wait. They count their passes over failures."""

    server: CalendarServer
    state: State
    session: ConnectorSession

    def service(self, calendar: Calendar) -> AppointmentService:
        return AppointmentService(self.session.for_tenant(calendar.tenant_id), retry=RetryPolicy.none())

    def sync(self) -> BulkSync:
        return BulkSync(self.state, self.service, SyncSettings(grace=0, pause=0, passes=3))

    async def run(self, records: list[SourceRecord] = RECORDS, **options: Any) -> RunReport:
        return await self.sync().run(ListSource(records), SyncOptions(**{"assume_empty": True} | options))

    def requests_of(self, tenant: str) -> int:
        return sum(request.target.startswith(f"/{tenant}/") for request in self.server.requests)

    async def failures(self, key: str) -> list[dict[str, Any]]:
        return [row for row in await explain_key(self.state, key) if row["what"] == "failure"]


@asynccontextmanager
async def runs_at(case: str, path: Path) -> AsyncIterator[Runs]:
    server = CalendarServer(attrs.evolve(CASES[case][0]))
    async with server:
        session = ConnectorSession(
            server.base_url, tenant_id="acme", auth=StaticToken("t"), rate_limit=RateLimit.unlimited()
        )
        if case == "unreachable":
            session = ConnectorSession("http://127.0.0.1:9", tenant_id="acme", auth=StaticToken("t"))
        async with session, await State.open(path, owner="test") as state:
            yield Runs(server, state, session)


@pytest.mark.row("S4")
@pytest.mark.parametrize(("case", "mode"), LOOKS)
async def test_run_tells_why_a_tenant_failed_and_does_not_wait_for_what_is_permanent(
    state_path: Path, case: str, mode: Mode
) -> None:
    _, error, status = CASES[case]
    async with runs_at(case, state_path) as runs:
        report = await runs.run(RECORDS[:3] if case == "unreachable" else RECORDS, mode=mode)
        tenant = report.tenants["acme"]
        reasons = tenant.reasons
        # After a create with 500, its result is unknown, and the preview that would show it fails as well.
        errors = {error, "OutcomeUnknownError"} if (case, mode) == ("500", Mode.TRUST) else {error}
        assert {reason.error for reason in reasons} == errors
        assert {reason.status for reason in reasons if reason.error == error} == {status}
        assert all(REFUSED in reason.reason for reason in reasons) is (status is not None)
        assert report.as_json()["tenants"]["acme"]["reasons"] == [attrs.asdict(reason) for reason in reasons]
        assert {row["reason"] for row in await runs.failures("a")} == {reason.reason for reason in reasons}
        if case in PERMANENT:
            assert +tenant.counts == {Fate.NOT_STARTED: 3}
            assert (tenant.calendars_refused, tenant.calendars_failed) == (1, 0)
            assert runs.requests_of("acme") <= 4  # as many as are in flight at once
        if case != "unreachable":
            assert +report.tenants["globex"].counts == {Fate.CREATED: 3}
        # The next run tries again, and a failure that has passed is forgotten.
        if case != "unreachable":
            runs.server.habits.refuse, runs.server.habits.garbled_previews = {}, ()
            assert (await runs.run(mode=mode)).counts == {Fate.CREATED: 3}
            assert await runs.failures("a") == []


@pytest.mark.row("S4")
@pytest.mark.parametrize("case", [case for case in CASES if case != "unreachable"])
async def test_plan_and_pull_tell_why_a_tenant_failed_and_do_the_others(state_path: Path, case: str) -> None:
    _, error, status = CASES[case]
    failed: list[tuple[Calendar, str]] = []

    def note(calendar: Calendar, error: ConnectorError) -> None:
        failed.append((calendar, type(error).__name__))

    async with runs_at(case, state_path) as runs:
        planned = runs.sync().plan(ListSource(RECORDS), SyncOptions(mode=Mode.CHECK), on_failure=note)
        assert [operation.calendar async for operation in planned] == [GLOBEX] * 3
        assert failed == [(ACME, error)]
        with pytest.raises(ConnectorError):  # without the callback
            [operation async for operation in runs.sync().plan(ListSource(RECORDS), SyncOptions(mode=Mode.CHECK))]
        runs.server.requests.clear()
        async with await State.open(state_path.with_name("pull.db"), owner="test") as state:
            pull = Pull(state, runs.service, PullOptions(calendars=[ACME, GLOBEX]))
            assert [change async for change in pull] == []
            (reason,) = pull.report.tenants["acme"].reasons
            assert (reason.error, reason.status) == (error, status)
        assert (runs.requests_of("acme"), runs.requests_of("globex")) == (1, 1)
        assert pull.report.tenants["acme"].calendars_refused == (case in PERMANENT)


@pytest.mark.row("S4")
async def test_refused_create_stops_its_calendar_without_dead_letters(state_path: Path) -> None:
    async with runs_at("403", state_path) as runs:
        runs.server.habits.refuse = {"acme POST": 403}
        records = [record(f"k{number:03}") for number in range(100)]
        for _ in range(2):
            runs.server.requests.clear()
            report = await runs.run(records)
            assert report.counts == {Fate.NOT_STARTED: 100}
            assert runs.server.writes()["POST"] <= 4
            assert [reason.count for reason in report.tenants["acme"].reasons] == [1]


@pytest.mark.row("S4")
async def test_refused_update_is_a_dead_letter_of_its_record_alone(state_path: Path) -> None:
    async with runs_at("403", state_path) as runs:
        runs.server.habits.refuse = {}
        await runs.run()
        runs.server.habits.refuse = {"acme PUT": 403}
        report = await runs.run([record("a", "New"), record("n"), *RECORDS[1:]])
        assert report.counts == {Fate.REFUSED: 1, Fate.CREATED: 1}
        assert [reason.status for reason in report.tenants["acme"].reasons] == [403]


@pytest.mark.row("S4")
async def test_calendar_that_forbids_every_update_is_left_after_a_few(state_path: Path) -> None:
    async with runs_at("403", state_path) as runs:
        runs.server.habits.refuse = {}
        await runs.run([record(f"k{number}") for number in range(50)])
        runs.server.habits.refuse = {"acme PUT": 403}
        runs.server.requests.clear()
        changed = [record(f"k{number}", f"New {number}") for number in range(50)]
        report = await runs.run(changed)
        assert (report.tenants["acme"].calendars_refused, report.counts[Fate.REFUSED]) == (1, 2)
        assert runs.server.writes()["PUT"] <= 2 + 4
        runs.server.habits.refuse = {}
        assert (await runs.run(changed)).counts == {Fate.UPDATED: 48, Fate.SKIPPED: 2}


@pytest.mark.parametrize("status", [403, 422, 500])
async def test_words_of_the_server_do_not_repeat_the_record(state_path: Path, status: int) -> None:
    async with runs_at("403", state_path) as runs:
        runs.server.habits.refuse, runs.server.habits.reason = (
            {"acme POST": status},
            "Secret visit: Private is too long",
        )
        report = await runs.run([record("a", "Secret visit", description="Private")])
        assert [reason.reason.rpartition("; ")[2] for reason in report.tenants["acme"].reasons] == [
            "[...]: [...] is too long" + (")" if status == 500 else "")
        ]


@pytest.mark.parametrize("status", [402, 405, 413, 451, 501])
async def test_permanent_status_is_not_sent_again(state_path: Path, status: int) -> None:
    async with runs_at("403", state_path) as runs:
        runs.server.habits.refuse = {"acme POST": status}
        assert (await runs.run([record("a")])).counts == {Fate.REFUSED: 1}
        assert runs.server.writes() == {"POST": 1}


@pytest.mark.row("S13")
async def test_guard_of_a_tenant_says_what_is_missing(state_path: Path) -> None:
    source = MemorySource(*[record(key) for key in "abc"])
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.delete("Visit a", "Visit b", "Visit c")
        report = await sync.run_two_way(source)
        assert report.stopped(Stopped.GUARD) == ["acme"]
        (reason,) = report.tenants["acme"].reasons
        assert reason.reason == "the server shows no appointment of tenant acme, but 3 are known"
        failed: list[ConnectorError] = []
        async with sync.opened() as (bulk_sync, state):
            assert reason.reason in [row.get("reason") for row in await explain_key(state, "a")]
            options = SyncOptions(mode=Mode.TWO_WAY)
            planned = bulk_sync.plan(source, options, on_failure=lambda _, error: failed.append(error))
            assert [operation async for operation in planned] == []
        assert [type(error) for error in failed] == [GuardError]


async def test_transient_failure_that_passes_is_no_reason(state_path: Path) -> None:
    async with runs_at("500", state_path) as runs:
        runs.server.habits.refuse = {"acme POST": 500}
        report = await runs.run([record("a")])
        assert report.counts == {Fate.UNKNOWN: 1} or report.counts == {Fate.RETRYABLE: 1}
        assert [reason.count for reason in report.tenants["acme"].reasons] == [1]
        runs.server.habits.refuse = {}
        report = await runs.run([record("a")])
        assert (report.counts, report.tenants["acme"].reasons) == ({Fate.CREATED: 1}, [])
        assert await runs.failures("a") == []
    async with syncing(state_path.with_name("other.db")) as sync:
        await sync.run([record("a"), record("b")])
        sync.sandbox.faults.script(*[StatusFault(503)] * 2, operation="update")
        sync.sandbox.faults.script(StatusFault(422), operation="delete")
        report = await sync.run([record("a", "New")])  # the second pass updates it
        assert report.counts == {Fate.UPDATED: 1, Fate.REFUSED: 1}
        assert [reason.status for reason in report.tenants["acme"].reasons] == [422]


# Errors of the application's own code.


@pytest.mark.parametrize("mode", [Mode.TRUST, Mode.CHECK])
async def test_services_that_raises_for_one_calendar_fails_that_one(state_path: Path, mode: Mode) -> None:
    class Raising(Runs):
        def service(self, calendar: Calendar) -> AppointmentService:
            if calendar == ACME:
                raise KeyError("personal")
            return super().service(calendar)

    async with runs_at("403", state_path) as opened:
        runs = Raising(opened.server, opened.state, opened.session)
        report = await runs.run(mode=mode)
        assert report.counts == {Fate.CREATED: 3, Fate.NOT_STARTED: 3}
        (reason,) = report.tenants["acme"].reasons
        assert (reason.error, reason.reason) == ("HookError", "services raised KeyError")
        async with await State.open(state_path.with_name("pull.db"), owner="test") as state:
            pull = Pull(state, runs.service, PullOptions(calendars=[ACME, GLOBEX]))
            assert len([change async for change in pull]) == 3


async def test_conflict_callback_that_raises_gives_up_that_conflict(state_path: Path) -> None:
    async def decide(conflict: Conflict) -> Policy:
        if conflict.key == "a":
            raise KeyError("personal")
        return Policy.LOCAL

    source = MemorySource(record("a"), record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        for key in "ab":
            await sync.retitle(f"Visit {key}", f"Theirs {key}")
        source.kept = [record("a", "Mine a"), record("b", "Mine b")]
        report = await sync.run_two_way(source, rules=ConflictRules(on_conflict=decide))
        assert report.counts == {Fate.CONFLICT: 1, Fate.UPDATED: 1}
        assert [reason.reason for reason in report.tenants["acme"].reasons] == ["on_conflict raised KeyError"]
        assert await sync.titles() == ["Mine b", "Theirs a"]
