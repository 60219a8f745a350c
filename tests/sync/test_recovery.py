"""Pending creates at servers with habits: nothing is created twice, and nothing is missing."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    Clock,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    RetryPolicy,
    StaticToken,
)
from connector_async.sandbox import BodyFormat, DropBefore
from connector_async.sync import (
    BulkSync,
    Calendar,
    Fate,
    Mode,
    RunReport,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
    read_dead_letters,
)
from connector_async.sync.planning.normalization import is_normalization_of
from connector_async.sync.planning.operations import pulled_pair
from connector_async.sync.state.journal import Journal
from tests.support.calendar_server import NORMALIZATIONS, CalendarServer, Habits
from tests.support.syncing import ACME, EVERYTHING, SCOPE, TEN, USER, ListSource, MemorySource, record, syncing


@asynccontextmanager
async def opened(server: CalendarServer, path: Path) -> AsyncIterator[tuple[BulkSync, State]]:
    session = ConnectorSession(
        server.base_url, tenant_id="acme", auth=StaticToken("t"), rate_limit=RateLimit.unlimited()
    )

    def service(calendar: Calendar) -> AppointmentService:
        retry = RetryPolicy(attempts=2, wait_initial=0)
        return AppointmentService(session.for_tenant(calendar.tenant_id), retry=retry)

    async with session, await State.open(path, owner="test") as state:
        yield BulkSync(state, service, SyncSettings(grace=0, pause=0, passes=2)), state


async def run(
    server: CalendarServer, path: Path, source: Iterable[SourceRecord] | MemorySource, **options: Any
) -> RunReport:
    async with opened(server, path) as (sync, _):
        if isinstance(source, MemorySource):
            return await sync.run(source, SyncOptions(mode=Mode.TWO_WAY, **options), mirror=source)
        return await sync.run(ListSource(source), SyncOptions(**options))


def odd_record(number: int, *, description: str | None) -> SourceRecord:
    """Return a record that each server of `NORMALIZATIONS` changes."""
    plain = record(f"k{number}", f" Visite\u0301 number {number}\nx", hour=number, description=description)
    late = timedelta(seconds=20)
    appointment = attrs.evolve(plain.appointment, start_time=plain.appointment.start_time + late)
    return attrs.evolve(plain, appointment=appointment)


# Servers that change what they are sent.


@pytest.mark.row("S7")
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("next_mode", Mode)
async def test_lost_create_is_recognized_in_the_server_s_version(
    state_path: Path, normalize: str, next_mode: Mode
) -> None:
    description = None if normalize == "described" else "a\nb"
    source = MemorySource(*[odd_record(number, description=description) for number in range(6)])
    async with CalendarServer(Habits(normalize=normalize, lose_creates=3)) as server:
        assert (await run(server, state_path, source.kept)).counts == {Fate.CREATED: 6}
        assert server.writes() == {"POST": 6}
        if next_mode is Mode.TWO_WAY:
            again = await run(server, state_path, source)
        else:
            again = await run(server, state_path, source.kept, mode=next_mode)
        assert again.counts == {}
        assert server.writes() == {"POST": 6}
        assert len(server.stored["acme"]) == 6


@pytest.mark.row("S7")
async def test_lost_twins_are_as_many_appointments_as_records(state_path: Path) -> None:
    twins = [record(key, "Visit of twins") for key in "abcd"]
    async with CalendarServer(Habits(normalize="upper", lose_creates=3)) as server:
        assert (await run(server, state_path, twins)).counts == {Fate.CREATED: 4}
        assert len(server.stored["acme"]) == 4
        report = await run(server, state_path, twins[:1], max_delete=EVERYTHING)
        assert report.counts == {Fate.DELETED: 3}
        assert len(server.stored["acme"]) == 1


@pytest.mark.row("S7")
async def test_other_appointment_at_the_same_times_is_not_the_lost_create(state_path: Path) -> None:
    async with CalendarServer(Habits(refuse={"acme POST": 502})) as server:
        start, end = (TEN + timedelta(minutes=minutes) for minutes in (0, 30))
        server.add(title="Somebody else", startTime=start.isoformat(), endTime=end.isoformat())
        await run(server, state_path, [record("a")])
        server.habits.refuse = {}
        assert (await run(server, state_path, [record("a")])).counts == {Fate.CREATED: 1}
        assert server.titles() == ["Somebody else", "Visit a"]


NEW = NewAppointment(
    title="Visit of Mr X", start_time=TEN + timedelta(seconds=40), end_time=TEN + timedelta(minutes=5), description="a"
)


@pytest.mark.row("S7")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"title": "VISIT OF  MR X "}, True),
        ({"title": "Visit of"}, True),
        ({"title": "Visit"}, False),
        ({"title": "Visit of Mr Y"}, False),
        ({"title": "Visit of Mr X, moved"}, False),
        ({"description": None}, True),
        ({"description": "b"}, False),
        ({"start_time": TEN}, True),
        ({"start_time": TEN + timedelta(minutes=1)}, True),
        ({"start_time": TEN + timedelta(minutes=2)}, False),
        ({"start_time": TEN + timedelta(seconds=30)}, False),
        ({"end_time": TEN + timedelta(minutes=4)}, False),
    ],
)
def test_version_of_the_server_is_distinguished_from_another_appointment(
    change: dict[str, Any], *, expected: bool
) -> None:
    shown = Appointment(
        appointment_id="a-1", title=NEW.title, start_time=NEW.start_time, end_time=NEW.end_time, description="a"
    )
    assert is_normalization_of(attrs.evolve(shown, **change), NEW) is expected


@pytest.mark.row("S7")
@pytest.mark.parametrize(
    ("microsecond", "expected"), [(500_600, True), (500_000, True), (501_000, True), (0, True), (400_000, False)]
)
def test_fractions_of_seconds_may_be_cut_or_rounded(microsecond: int, *, expected: bool) -> None:
    new = attrs.evolve(NEW, start_time=TEN.replace(second=10, microsecond=500_600))
    start_time = TEN.replace(second=10, microsecond=microsecond)
    shown = Appointment(appointment_id="a-1", title=new.title, start_time=start_time, end_time=new.end_time)
    assert is_normalization_of(shown, new) is expected


def test_last_moment_can_be_compared() -> None:
    end = datetime.max.replace(tzinfo=TEN.tzinfo)
    new = NewAppointment(title="Visit", start_time=end, end_time=end)
    shown = Appointment(appointment_id="a-1", title="Visit", start_time=end, end_time=end)
    assert is_normalization_of(shown, new)


# Previews that do not show everything.


@pytest.mark.row("S9")
@pytest.mark.parametrize("limit", [0, 2])
@pytest.mark.parametrize("two_way", [False, True])
async def test_create_stays_pending_if_the_preview_lacks_what_exists(
    state_path: Path, limit: int, *, two_way: bool
) -> None:
    source = MemorySource(*[record(f"k{number}", hour=number) for number in range(5)])
    async with CalendarServer() as server:
        await run(server, state_path, source.kept[:3])
        server.habits.lose_creates, server.habits.preview_limit = 2, limit
        first = await run(server, state_path, source.kept)
        assert first.counts == {Fate.UNKNOWN: 2}
        again = await run(server, state_path, source if two_way else source.kept)
        assert again.counts == {Fate.UNKNOWN: 2}
        assert again.requests <= 2 * (1 + 1)  # in each pass a preview and one read
        assert server.writes() == {"POST": 5}
        server.habits.preview_limit = None
        assert (await run(server, state_path, source if two_way else source.kept)).counts == {Fate.CREATED: 2}
        assert server.titles() == [f"Visit k{number}" for number in range(5)]


@pytest.mark.row("S9")
async def test_lost_create_in_an_incomplete_preview_is_recorded(state_path: Path) -> None:
    records = [record(f"k{number}", hour=number) for number in range(5)]
    async with CalendarServer() as server:
        await run(server, state_path, records[:3])
        server.habits.lose_creates, server.habits.preview_limit = 2, 0
        await run(server, state_path, records)
        stored = server.stored["acme"]
        stored["a-1"] = stored.pop("a-1")  # the server shows it last
        server.habits.preview_limit = 3
        assert (await run(server, state_path, records)).counts == {Fate.CREATED: 1, Fate.UNKNOWN: 1}
        assert len(stored) == 5


@pytest.mark.row("S9")
async def test_lost_create_is_deleted_although_nothing_else_is_known_of_its_tenant(state_path: Path) -> None:
    async with CalendarServer(Habits(lose_creates=1, refuse={"acme GET": 502})) as server:
        first = await run(server, state_path, [record("k0")], assume_empty=True)
        assert first.counts == {Fate.UNKNOWN: 1}
        server.habits.refuse = {}
        report = await run(server, state_path, [], allow_empty=True)
        assert report.counts == {Fate.DELETED: 1}
        assert server.titles() == []


@pytest.mark.row("S9")
async def test_preview_is_believed_if_what_it_lacks_was_deleted(state_path: Path) -> None:
    records = [record(f"k{number}", hour=number) for number in range(5)]
    async with CalendarServer() as server:
        await run(server, state_path, records[:4])
        server.stored["acme"].clear()
        server.habits.refuse = {"acme POST": 502}
        await run(server, state_path, records)
        server.habits.refuse = {}
        assert (await run(server, state_path, records)).counts == {Fate.CREATED: 1}
        assert server.titles() == ["Visit k4"]


@pytest.mark.row("S9")
async def test_preview_is_believed_if_nothing_is_known(state_path: Path) -> None:
    async with CalendarServer(Habits(refuse={"acme POST": 502})) as server:
        await run(server, state_path, [record("a")])
        server.habits.refuse = {}
        assert (await run(server, state_path, [record("a")])).counts == {Fate.CREATED: 1}
        assert server.titles() == ["Visit a"]


@pytest.mark.row("S9")
async def test_preview_is_believed_if_what_it_lacks_was_moved(state_path: Path) -> None:
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run([record("a", calendar=USER)], scope=SCOPE)
        (appointment_id,) = (await sync.ids(USER)).values()
        far = TEN + timedelta(days=5)
        await sync.service(USER).update(appointment_id, start_time=far, end_time=far)
        sync.sandbox.faults.script(DropBefore(), operation="create")
        report = await sync.run([record(key, calendar=USER) for key in "ab"], scope=SCOPE)
        assert report.counts == {Fate.CREATED: 1}


# A server that treats equal appointments as one.


@pytest.mark.row("S11")
@pytest.mark.parametrize("mode", Mode)
async def test_id_of_another_record_is_reported_and_not_deleted(state_path: Path, mode: Mode) -> None:
    source = MemorySource(record("a"), record("twin", "Visit a"))
    async with CalendarServer(Habits(deduplicate=True)) as server:
        first = await run(server, state_path, source.kept)
        assert first.counts == {Fate.CREATED: 1, Fate.REFUSED: 1}
        assert (await run(server, state_path, source.kept)).counts == {Fate.SKIPPED: 1}
        async with opened(server, state_path) as (_, state):
            (letter,) = [letter async for letter in read_dead_letters(state)]
        assert letter["reason"] == (
            "the server returned the id of another record; it may treat equal appointments as one"
        )
        source.kept = [each for each in source.kept if each.key != letter["key"]]
        options: dict[str, Any] = {"max_delete": EVERYTHING}
        if mode is Mode.TWO_WAY:
            await run(server, state_path, source, **options)
        else:
            await run(server, state_path, source.kept, mode=mode, **options)
        assert server.titles() == ["Visit a"]
        assert server.writes() == {"POST": 2}
        assert len(source.kept) == 1


@pytest.mark.row("S11")
async def test_appointment_of_two_records_is_deleted_with_the_last(state_path: Path) -> None:
    records = [record("a"), record("b", hour=1), record("c", hour=2)]
    async with CalendarServer() as server:
        await run(server, state_path, records)
        async with opened(server, state_path) as (_, state):  # as an earlier version has left it
            journal = Journal.for_new_run(state, Clock())
            pair = pulled_pair("b", "a-1", _appointment("a-1", records[1]))
            await journal.record_synced(ACME, [pair])
        first = await run(server, state_path, [records[0], records[2]], max_delete=EVERYTHING)
        assert first.counts == {Fate.UNCHANGED: 1}
        assert first.minimum == first.requests == 0
        assert "a-1" in server.stored["acme"]
        assert (await run(server, state_path, [records[2]], max_delete=EVERYTHING)).counts == {Fate.DELETED: 1}
        assert "a-1" not in server.stored["acme"]


def _appointment(appointment_id: str, each: SourceRecord) -> Appointment:
    new = each.appointment
    return Appointment(appointment_id=appointment_id, title=new.title, start_time=new.start_time, end_time=new.end_time)
