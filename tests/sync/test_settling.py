"""What a run makes of a server that shows its writes late, in its own words, in part, or under other ids."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector_async import Appointment, RateLimit
from connector_async.sync import (
    ChangeKind,
    Fate,
    MaxDelete,
    Mode,
    Pull,
    PullOptions,
    SavedPlan,
    SourceRecord,
    SyncOptions,
    SyncSettings,
    content_hash,
    save_plan,
)
from connector_async.sync.planning.snapshot import ServerSnapshot
from connector_async.sync.state.reader import LastSeen
from tests.support.calendar_server import NORMALIZATIONS, CalendarServer, Habits
from tests.support.server_runs import ServerRuns, SteadyClock
from tests.support.syncing import ACME, TEN, ListSource, MemorySource, record

LOOKING = [Mode.CHECK, Mode.TWO_WAY]


@asynccontextmanager
async def serving(path: Path, *, grace: float = 0.0, **habits: Any) -> AsyncIterator[tuple[CalendarServer, ServerRuns]]:
    clock = SteadyClock()
    async with CalendarServer(Habits(**habits), clock=clock.monotonic) as server:
        runs = ServerRuns(server, path, clock, rate_limit=RateLimit.unlimited())
        runs.settings = SyncSettings(grace=grace)
        yield server, runs


def described(number: int, title: str = "") -> SourceRecord:
    return record(f"k{number}", title or f"Visit {number}", hour=number, description=f"About {number}")


def edit(server: CalendarServer, title: str, /, **fields: Any) -> None:
    """Let someone change an appointment on the server."""
    (stored,) = [each for each in server.stored["acme"].values() if each["title"] == title]
    stored.update(fields)


def descriptions(server: CalendarServer) -> dict[str, Any]:
    return {each["title"]: each.get("description") for each in server.stored["acme"].values()}


# A server that shows its writes late.


@asynccontextmanager
async def synced(path: Path, *records: SourceRecord) -> AsyncIterator[Any]:
    """Sync records with a read replica: `get` and previews are 10 s behind, and the grace period is 30 s."""
    async with serving(path, grace=30, lag=10) as (server, runs):
        clock = runs.clock
        assert isinstance(clock, SteadyClock)
        source = MemorySource(*records)
        await runs.run(source.kept)
        clock.now += 60
        yield server, runs, clock, source


@pytest.mark.row("S10")
async def test_created_keys_are_not_taken_for_deleted(state_path: Path) -> None:
    async with serving(state_path, grace=30, lag=10) as (server, runs):
        clock = runs.clock
        assert isinstance(clock, SteadyClock)
        source = MemorySource(*[record(key) for key in "abc"])
        await runs.run(source.kept)
        for seconds in (0, 5, 20, 60):
            clock.now += seconds
            assert (await runs.run(source)).counts == {}
        assert len(source.kept) == 3
        assert server.writes() == {"POST": 3}


@pytest.mark.row("S10")
async def test_update_is_not_reverted(state_path: Path) -> None:
    async with synced(state_path, record("a")) as (server, runs, clock, source):
        source.kept = [record("a", "New")]
        await runs.run(source)
        for seconds in (1, 60):
            clock.now += seconds
            assert (await runs.run(source)).counts == {}
        assert source.titles() == {"a": "New"}
        assert server.titles() == ["New"]


@pytest.mark.row("S10")
async def test_deleted_record_does_not_come_back(state_path: Path) -> None:
    async with synced(state_path, record("a"), record("b", hour=1)) as (server, runs, clock, source):
        source.kept = [record("a")]
        await runs.run(source)
        for seconds in (1, 60):
            clock.now += seconds
            assert (await runs.run(source)).counts == {}
        assert source.titles() == {"a": "Visit a"}
        assert server.titles() == ["Visit a"]


@pytest.mark.row("S10")
async def test_deleted_appointment_is_not_claimed_by_its_own_record(state_path: Path) -> None:
    async with synced(state_path, record("a"), record("b", hour=1)) as (server, runs, *_):
        await runs.run([record("a")])
        await runs.run([record("a"), record("b", hour=1)], mode=Mode.CHECK)
        assert server.titles() == ["Visit a", "Visit b"]


@pytest.mark.row("S10")
async def test_deleted_appointment_is_not_taken_for_a_lost_create(state_path: Path) -> None:
    async with synced(state_path, record("a", "Twin"), record("b")) as (server, runs, clock, _):
        server.habits.refuse = {"acme POST": 502}
        records = [record("b"), record("c", "Twin")]
        runs.settings = SyncSettings(grace=5)
        await runs.run([record("a", "Twin"), *records])
        server.habits.refuse = {}
        clock.now += 60
        runs.settings = SyncSettings(grace=30)
        # The create is looked for when the delete of its twin has just been sent.
        report = await runs.run(records)
        assert report.counts == {Fate.DELETED: 1, Fate.CREATED: 1}
        assert server.titles() == ["Twin", "Visit b"]


@pytest.mark.row("S10")
async def test_change_of_the_server_is_seen_after_the_grace_period(state_path: Path) -> None:
    async with synced(state_path, record("a")) as (server, runs, clock, source):
        edit(server, "Visit a", title="Theirs")
        server._remember()
        clock.now += 10
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        assert source.titles() == {"a": "Theirs"}


@pytest.mark.row("S10")
async def test_wall_clock_that_was_set_back_hides_no_change_for_long(state_path: Path) -> None:
    async with synced(state_path, record("a")) as (server, runs, clock, source):
        edit(server, "Visit a", title="Theirs")
        server._remember()
        clock.now += 10
        clock.offset = -86_400
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}


@pytest.mark.row("S10")
async def test_change_of_the_server_right_after_a_write_is_seen_at_once(state_path: Path) -> None:
    async with serving(state_path, grace=30) as (server, runs):
        source = MemorySource(record("a"), record("b", hour=1))
        await runs.run(source)
        started_at = runs.clock.monotonic()
        edit(server, "Visit a", title="Theirs")
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        source.kept[1] = record("b", "Mine", hour=1)
        await runs.run(source)
        edit(server, "Mine", title="Theirs too")
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        assert source.titles() == {"a": "Theirs", "b": "Theirs too"}
        assert runs.clock.monotonic() == started_at


@pytest.mark.row("S10")
async def test_delete_of_the_server_right_after_a_create_is_believed_after_the_grace_period(state_path: Path) -> None:
    async with serving(state_path, grace=30) as (server, runs):
        source = MemorySource(record("a"), record("b", hour=1))
        await runs.run(source)
        started_at = runs.clock.monotonic()
        server.stored["acme"] = {key: each for key, each in server.stored["acme"].items() if each["title"] != "Visit a"}
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        assert source.titles() == {"b": "Visit b"}
        assert runs.clock.monotonic() == started_at + 30


# A server that shows appointments in part.


@pytest.mark.row("S6")
@pytest.mark.parametrize("get_description", [True, False])
async def test_no_description_is_lost_to_previews_without_them(state_path: Path, *, get_description: bool) -> None:
    habits = {"preview_description": False, "get_description": get_description}
    async with serving(state_path, **habits) as (server, runs):
        source = MemorySource(*[described(number) for number in range(6)])
        await runs.run(source)
        for turn in range(3):
            source.kept[turn] = described(turn, f"Mine {turn}")
            edit(server, f"Visit {turn + 3}", title=f"Theirs {turn}")
            assert (await runs.run(source)).counts == {Fate.UPDATED: 1, Fate.PULLED: 1}
            assert (await runs.run(source)).counts == {}
        expected = {f"Mine {turn}": f"About {turn}" for turn in range(3)}
        expected |= {f"Theirs {turn}": f"About {turn + 3}" for turn in range(3)}
        assert descriptions(server) == expected
        assert {each.appointment.title: each.appointment.description for each in source.kept} == expected
        assert server.writes() == {"POST": 6, "PUT": 3}


@pytest.mark.row("S6")
async def test_unchanged_appointments_without_descriptions_are_not_read(state_path: Path) -> None:
    async with serving(state_path, preview_description=False) as (_, runs):
        source = MemorySource(*[described(number) for number in range(6)])
        await runs.run(source)
        assert (await runs.run(source)).requests == 1


@pytest.mark.row("S6")
async def test_new_appointment_is_written_back_with_the_description_that_a_preview_omits(state_path: Path) -> None:
    async with serving(state_path, preview_description=False) as (server, runs):
        source = MemorySource(described(0))
        await runs.run(source)
        server.add(title="Theirs", startTime=TEN.isoformat(), endTime=TEN.isoformat(), description="Secret")
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        assert source.kept[-1].appointment.description == "Secret"


@pytest.mark.row("S6")
async def test_update_keeps_a_description_that_the_source_never_had(state_path: Path) -> None:
    async with serving(state_path, preview_description=False, get_description=False) as (server, runs):
        server.add(
            title="Visit a", startTime=TEN.isoformat(), endTime=TEN.replace(minute=30).isoformat(), description="Secret"
        )
        source = MemorySource(record("a"))
        assert (await runs.run(source)).counts == {Fate.UNCHANGED: 1}
        source.kept = [record("a", "New")]
        assert (await runs.run(source)).counts == {Fate.UPDATED: 1}
        assert descriptions(server) == {"New": "Secret"}


@pytest.mark.row("S6")
async def test_written_back_record_keeps_the_description_of_the_server_without_the_state(state_path: Path) -> None:
    async with serving(state_path, preview_description=False, get_description=False) as (server, runs):
        source = MemorySource(record("a"))
        await runs.run(source)
        server.add(title="Theirs", startTime=TEN.isoformat(), endTime=TEN.isoformat(), description="Secret")
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        runs.path = state_path.with_name("other.db")
        source.kept[1] = attrs.evolve(source.kept[1], appointment=record("x", "Mine").appointment)
        assert (await runs.run(source)).counts == {Fate.UPDATED: 1, Fate.UNCHANGED: 1}
        assert descriptions(server)["Mine"] == "Secret"


@pytest.mark.row("S6")
async def test_applied_plan_keeps_a_description_that_the_source_never_had(state_path: Path) -> None:
    async with serving(state_path, preview_description=False) as (server, runs):
        await runs.run([record("a")])
        edit(server, "Visit a", description="Secret")
        async with runs.opened() as (sync, state):
            options = SyncOptions()
            plan = state_path.with_name("plan.jsonl")
            operations = sync.plan(ListSource([record("a", "New")]), options)
            await save_plan(operations, plan, state=state, options=options)
            assert (await sync.apply(SavedPlan.open(plan))).counts == {Fate.UPDATED: 1}
        assert descriptions(server) == {"New": "Secret"}


@pytest.mark.row("S6")
async def test_description_that_the_source_removes_is_removed(state_path: Path) -> None:
    async with serving(state_path, preview_description=False) as (server, runs):
        await runs.run([described(0)])
        plain = attrs.evolve(described(0), appointment=record("k0", "Visit 0").appointment)
        assert (await runs.run([plain])).counts == {Fate.UPDATED: 1}
        assert descriptions(server) == {"Visit 0": ""}


@pytest.mark.row("S6")
@pytest.mark.parametrize(("omitted", "is_unchanged"), [({"description_type": None}, True), ({"title": "New"}, False)])
def test_omitted_type_of_a_description_is_unknown(omitted: dict[str, Any], *, is_unchanged: bool) -> None:
    stored = Appointment(
        appointment_id="a-1",
        title="Visit",
        start_time=TEN,
        end_time=TEN,
        description="<b>x</b>",
        description_type="Html",
    )
    snapshot = ServerSnapshot({"a-1": LastSeen(key="a", remote_hash=content_hash(stored), in_range=True)})
    snapshot.add(attrs.evolve(stored, **omitted))
    assert snapshot.unchanged == ({"a-1"} if is_unchanged else set())


# A server that changes what it is sent.


def odd(number: int, suffix: str = "") -> SourceRecord:
    """Return a record that each server of `NORMALIZATIONS` changes."""
    return record(f"k{number:02}", f" Visite\u0301 number {number}{suffix}\nx", hour=number, description="a\nb ")


@pytest.mark.row("S7")
@pytest.mark.parametrize("normalize", [name for name in NORMALIZATIONS if name not in ("described", "minutes")])
@pytest.mark.parametrize("mode", LOOKING)
async def test_server_that_repeats_what_it_was_sent_is_sent_nothing_twice(
    state_path: Path, normalize: str, mode: Mode
) -> None:
    async with serving(state_path, normalize=normalize, echo=True) as (server, runs):
        source = MemorySource(*[odd(number) for number in range(20)])
        await runs.run(source.kept)
        source.kept = [odd(number, ", new") for number in range(20)]
        before = list(source.kept)
        await runs.run(source, mode=mode)
        sent = server.writes()
        for _ in range(3):
            source.kept[0] = odd(0, f"{source.kept[0].appointment.title}") if mode is Mode.CHECK else source.kept[0]
            await runs.run(source, mode=mode)
        extra = server.writes()["PUT"] - sent["PUT"]
        assert (server.writes()["POST"], extra) == (20, 3 if mode is Mode.CHECK else 0)
        assert source.kept[1:] == before[1:]


@pytest.mark.row("S7")
@pytest.mark.parametrize("echo", [True, False])
async def test_change_after_the_first_look_is_a_change(state_path: Path, *, echo: bool) -> None:
    async with serving(state_path, echo=echo) as (server, runs):
        source = MemorySource(record("a"))
        await runs.run(source)
        assert (await runs.run(source)).counts == {}
        edit(server, "Visit a", title="VISIT A")
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        assert source.titles() == {"a": "VISIT A"}


@pytest.mark.row("S7")
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("mode", LOOKING)
async def test_lost_state_doubles_nothing_at_a_server_with_its_own_version(
    state_path: Path, tmp_path: Path, normalize: str, mode: Mode
) -> None:
    def each(number: int) -> SourceRecord:
        plain = odd(number)
        description = plain.appointment.description if normalize != "described" else ""
        start = plain.appointment.start_time.replace(second=20)
        return attrs.evolve(
            plain, appointment=attrs.evolve(plain.appointment, start_time=start, description=description)
        )

    async with serving(state_path, normalize=normalize) as (server, runs):
        source = MemorySource(*map(each, range(6)))
        before = list(source.kept)
        await runs.run(source.kept)
        runs.path = tmp_path / "other.db"
        assert (await runs.run(source, mode=mode)).counts == {Fate.UNCHANGED: 6}
        assert (await runs.run(source, mode=mode)).counts == {}
        assert server.writes() == {"POST": 6}
        assert source.kept == before


@pytest.mark.row("S7")
@pytest.mark.parametrize("mode", LOOKING)
async def test_record_takes_no_appointment_that_is_equal_to_another_record(state_path: Path, mode: Mode) -> None:
    async with serving(state_path) as (server, runs):
        await runs.run([record("other", "Visit of Anna")])
        runs.path = state_path.with_name("other.db")
        source = MemorySource(
            record("a", "visit of anna"), record("b", "Visit of Anna B"), record("c", "Visit of Anna")
        )
        assert (await runs.run(source, mode=mode)).counts == {Fate.CREATED: 2, Fate.UNCHANGED: 1}
        assert server.titles() == ["Visit of Anna", "Visit of Anna B", "visit of anna"]


def two_candidates(server: CalendarServer) -> None:
    times = {"startTime": TEN.isoformat(), "endTime": TEN.replace(minute=30).isoformat()}
    server.add(title="Visit of", **times)
    server.add(title="Visit of Mr", **times)


@pytest.mark.row("S7")
@pytest.mark.parametrize("mode", LOOKING)
async def test_record_that_may_be_one_of_several_is_reported(state_path: Path, mode: Mode) -> None:
    async with serving(state_path) as (server, runs):
        two_candidates(server)
        source = MemorySource(record("a", "Visit of Mr X"))
        assert (await runs.run(source, mode=mode)).counts[Fate.CONFLICT] == 1
        (letter,) = await runs.letters()
        assert letter["reason"] == "several appointments on the server may be this record"
        assert server.writes() == {}


@pytest.mark.row("S7")
async def test_lost_create_that_may_be_one_of_several_stays_pending(state_path: Path) -> None:
    async with serving(state_path, refuse={"acme POST": 502}) as (server, runs):
        two_candidates(server)
        assert (await runs.run([record("a", "Visit of Mr X")], assume_empty=True)).counts == {Fate.UNKNOWN: 1}
        server.habits.refuse = {}
        assert (await runs.run([record("a", "Visit of Mr X")], assume_empty=True)).counts == {Fate.UNKNOWN: 1}
        assert server.writes() == {"POST": 1}


# A server with changing ids.


@pytest.mark.row("S11")
async def test_id_that_changes_case_is_the_same_id(state_path: Path) -> None:
    async with serving(state_path, upper_ids_in_previews=True) as (server, runs):
        source = MemorySource(record("a"), record("b", hour=1))
        await runs.run(source)
        edit(server, "Visit b", title="Theirs")
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        source.kept[0] = record("a", "Mine")
        assert (await runs.run(source)).counts == {Fate.UPDATED: 1}
        assert (await runs.run(source)).counts == {}
        assert source.titles() == {"a": "Mine", "b": "Theirs"}
        assert server.titles() == ["Mine", "Theirs"]


@pytest.mark.row("S11")
async def test_pull_takes_an_id_in_another_case_for_the_same(state_path: Path) -> None:
    async with serving(state_path) as (server, runs):
        server.add(title="Theirs", startTime=TEN.isoformat(), endTime=TEN.isoformat())
        changes = []
        for is_upper in (False, True):
            server.habits.upper_ids_in_previews = is_upper
            async with runs.opened() as (_, state):
                pull = Pull(state, runs.service, PullOptions(calendars=[ACME]))
                changes.append([change.kind async for change in pull])
        assert changes == [[ChangeKind.CREATED], []]


@pytest.mark.row("S11")
async def test_ids_that_differ_in_case_alone_are_two(state_path: Path) -> None:
    async with serving(state_path) as (server, runs):
        source = MemorySource(record("a"))
        await runs.run(source)
        server.stored["acme"]["A-1"] = server.stored["acme"]["a-1"] | {"appointmentId": "A-1", "title": "Theirs"}
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        assert sorted(source.titles().values()) == ["Theirs", "Visit a"]


@pytest.mark.row("S11")
@pytest.mark.parametrize("lag", [0, 10])
async def test_item_follows_an_id_that_changes_in_an_update(state_path: Path, lag: float) -> None:
    async with serving(state_path, new_id_on_update=True, lag=lag, grace=3 * lag) as (server, runs):
        clock = runs.clock
        assert isinstance(clock, SteadyClock)
        source = MemorySource(record("a"))
        await runs.run(source)
        clock.now += 60
        for number in range(3):
            source.kept = [record("a", f"Title {number}")]
            await runs.run(source)
            await runs.run(source)
            clock.now += 60
        assert (await runs.run(source)).counts == {}
        assert source.titles() == {"a": "Title 2"}
        assert server.titles() == ["Title 2"]
        assert await runs.letters() == []


@pytest.mark.row("S11")
async def test_appointment_that_stays_under_its_old_id_is_reported_and_not_doubled(state_path: Path) -> None:
    async with serving(state_path, new_id_on_update=True, keep_replaced=True) as (server, runs):
        source = MemorySource(record("a"))
        await runs.run(source)
        source.kept = [record("a", "New")]
        assert (await runs.run(source)).counts == {Fate.UPDATED: 1}
        assert (await runs.run(source)).counts == {Fate.CONFLICT: 1}
        (letter,) = await runs.letters()
        assert letter["key"] == "replaced:a-1"
        assert letter["reason"] == (
            "an update has given the appointment another id, and the server has kept this one as well"
        )
        assert source.titles() == {"a": "New"}
        del server.stored["acme"]["a-1"]
        assert (await runs.run(source)).counts == {}
        assert server.titles() == ["New"]


@pytest.mark.row("S11")
@pytest.mark.parametrize("mode", LOOKING)
@pytest.mark.parametrize("preview_description", [True, False])
async def test_appointment_that_is_created_again_by_the_server_is_found(
    state_path: Path, mode: Mode, *, preview_description: bool
) -> None:
    async with serving(state_path, preview_description=preview_description) as (server, runs):
        source = MemorySource(*[described(number) for number in range(4)])
        await runs.run(source.kept)
        stored = server.stored["acme"]
        for number, old in enumerate(list(stored)):
            stored[f"new-{number}"] = stored.pop(old) | {"appointmentId": f"new-{number}"}
        source.kept[0] = described(0, "Mine")
        del source.kept[3]
        await runs.run(source, mode=mode, max_delete=MaxDelete(number=1))
        await runs.run(source)
        assert sorted(source.titles().values()) == ["Mine", "Visit 1", "Visit 2"] == server.titles()
        assert server.writes() == {"POST": 4, "PUT": 1, "DELETE": 1}


@pytest.mark.row("S11")
async def test_equal_appointment_does_not_replace_one_that_a_preview_lacks(state_path: Path) -> None:
    async with serving(state_path) as (server, runs):
        source = MemorySource(record("a"), record("b", hour=1))
        await runs.run(source)
        stored = server.stored["acme"]
        twin = server.add(**{name: value for name, value in stored["a-1"].items() if name != "appointmentId"})
        stored["a-1"] = stored.pop("a-1")  # the server shows it last
        server.habits.preview_limit = 2
        assert (await runs.run(source)).counts == {Fate.PULLED: 1}
        server.habits.preview_limit = None
        assert (await runs.run(source)).counts == {}
        assert sorted(source.titles()) == ["a", "b", f"server:{twin}"]


@pytest.mark.row("S11")
@pytest.mark.parametrize("mode", Mode)
async def test_update_that_returns_the_id_of_another_record_is_reported(state_path: Path, mode: Mode) -> None:
    async with serving(state_path, deduplicate=True) as (server, runs):
        source = MemorySource(record("a"), record("b"))
        await runs.run(source.kept)
        source.kept = [record("a"), record("b", "Visit a")]
        assert (await runs.run(source, mode=mode)).counts == {Fate.REFUSED: 1}
        (letter,) = await runs.letters()
        assert (letter["key"], letter["error"]) == ("b", "SharedId")
        source.kept = [record("a")]
        await runs.run(source, mode=mode)
        assert server.titles() == ["Visit a"]
