"""What a sync refuses before anything is written or sent, and what it finds out of its source's records."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from connector_async import AppointmentService, WireFormat
from connector_async.sandbox import BodyFormat
from connector_async.sync import (
    Budget,
    BulkSync,
    Calendar,
    ConflictRules,
    Fate,
    MaxDelete,
    Mode,
    Policy,
    Pull,
    PullOptions,
    Scope,
    SourceProblem,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
)
from connector_async.sync.formats import ICalendarSource
from connector_async.sync.state.reader import StateReader
from connector_async.sync.state.schema import runs
from tests.support.syncing import ACME, TEN, Listed, record, syncing

USER = Calendar("acme", "d-1", "u-1")
EAST = timezone(timedelta(hours=5))
NAIVE = datetime(2024, 1, 15, 10)
SECRET = "Hunter"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def calendar(*fields: Any) -> Calendar:
    return Calendar(*fields)


def source_record(**fields: Any) -> SourceRecord:
    appointment = record("k", f"{SECRET}'s visit").appointment
    options: dict[str, Any] = {"key": "k", "calendar": ACME, "appointment": appointment}
    return SourceRecord(**options | fields)


def source_problem(**fields: Any) -> SourceProblem:
    options: dict[str, Any] = {"source": "list", "line": None, "reason": "why"}
    return SourceProblem(**options | fields)


def print_nothing(*_: object) -> None:
    """Stand for a callback, which is no listener."""


WRONG_TYPES: list[tuple[Callable[[], object], str]] = [
    (lambda: calendar(1), "tenant_id must be a str"),
    (lambda: calendar("acme", 1, "a"), "domain_id must be a str"),
    (lambda: calendar("acme", "d", None), "ad_id must be a str"),
    (lambda: source_record(key=1), "key must be a str, not int"),
    (lambda: source_record(calendar="acme"), "calendar must be a Calendar, not str"),
    (lambda: source_record(appointment=f"{SECRET}'s visit"), "appointment must be a NewAppointment, not str"),
    (lambda: source_record(modified="2024"), "modified must be a datetime, not str"),
    (lambda: Scope(start="2024-01-15"), "start must be a datetime"),  # type: ignore[arg-type]
    (lambda: SyncOptions(mode="trust"), "mode must be a Mode, not str"),  # type: ignore[arg-type]
    (lambda: SyncOptions(rules=Policy.LOCAL), "rules must be a ConflictRules, not Policy"),  # type: ignore[arg-type]
    (lambda: SyncOptions(scope=(TEN, TEN)), "scope must be a Scope, not tuple"),  # type: ignore[arg-type]
    (lambda: SyncOptions(window=7), "window must be a timedelta, not int"),  # type: ignore[arg-type]
    (lambda: SyncOptions(max_delete=5), "max_delete must be a MaxDelete, not int"),  # type: ignore[arg-type]
    (lambda: SyncOptions(allow_empty=1), "allow_empty must be a bool, not int"),  # type: ignore[arg-type]
    (lambda: SyncOptions(retry_run=7), "retry_run must be a str, not int"),  # type: ignore[arg-type]
    (lambda: ConflictRules(policy="local"), "policy must be a Policy, not str"),  # type: ignore[arg-type]
    (lambda: ConflictRules(modified_field=None), "modified_field must be a str, not NoneType"),  # type: ignore[arg-type]
    (lambda: ConflictRules(on_conflict="local"), "on_conflict must be callable, not str"),  # type: ignore[arg-type]
    (lambda: PullOptions(calendars=""), "calendars must be a sequence of Calendar"),  # type: ignore[arg-type]
    (lambda: source_problem(key=5), "key must be a str, not int"),
    (lambda: source_problem(calendar="acme"), "calendar must be a Calendar, not str"),
    (lambda: MaxDelete(number=True), "max_delete must have an int"),
    (lambda: MaxDelete(number=1.5), "max_delete must have an int"),  # type: ignore[arg-type]
    (lambda: MaxDelete(share="50%"), "or a float as its share"),  # type: ignore[arg-type]
    (lambda: PullOptions(calendars=ACME), "calendars must be a sequence of Calendar"),  # type: ignore[arg-type]
    (lambda: PullOptions(calendars=["acme"]), "calendars must be a sequence of Calendar"),  # type: ignore[list-item]
    (lambda: PullOptions(calendars=[ACME], window=7), "window must be a timedelta"),  # type: ignore[arg-type]
    (lambda: PullOptions(calendars=[ACME], scope=None), "scope must be a Scope"),  # type: ignore[arg-type]
    (lambda: SyncSettings(wire_format="guide"), "wire_format must be a WireFormat, not str"),  # type: ignore[arg-type]
    (lambda: SyncSettings(read_first=1), "read_first must be a bool, not int"),  # type: ignore[arg-type]
    (lambda: SyncSettings(concurrency=1.0), "concurrency must be an int"),  # type: ignore[arg-type]
]

WRONG_VALUES: list[tuple[Callable[[], object], str]] = [
    (lambda: calendar(""), "tenant_id must not be empty"),
    (lambda: calendar("acme", "d"), "ad_id and domain_id must be given together"),
    (lambda: calendar("acme", "", "a"), "ad_id and domain_id must be given together"),
    (lambda: calendar("acme", "d\n", "a"), "domain_id must be printable"),
    (lambda: source_record(key=""), "key must not be empty"),
    (lambda: source_record(modified=NAIVE), "modified must be aware"),
    (lambda: record("k", extra={"color": SECRET}), "appointment must have no extra"),
    (lambda: Scope(start=NAIVE), "start must be aware"),
    (lambda: Scope(start=TEN, end=TEN - timedelta(1)), "end must not be before start"),
    (lambda: SyncOptions(window=timedelta(0)), "window must be above zero"),
    (lambda: PullOptions(calendars=[ACME], window=timedelta(-1)), "window must be above zero"),
    (lambda: source_record(modified=datetime.min.replace(tzinfo=EAST)), "modified must lie within the years 1 to 9999"),
    (lambda: source_problem(key=""), "key must not be empty"),
    (lambda: source_problem(key="a\n"), "key must be printable"),
    (lambda: SyncOptions(retry_run=""), "retry_run must not be empty"),
    (lambda: PullOptions(calendars=[]), "calendars must name one at least"),
    (lambda: MaxDelete(number=-1), "zero or more"),
    (lambda: SyncSettings(passes=0), "passes must be"),
    (lambda: SyncSettings(grace=float("nan")), "grace must be"),
]


@pytest.mark.parametrize(("make", "message"), WRONG_TYPES)
def test_another_type_is_refused_by_its_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        make()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("make", "message"), WRONG_VALUES)
def test_what_is_out_of_its_range_is_refused_by_its_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert SECRET not in str(caught.value)


async def test_a_sync_of_something_else_is_refused(state: Path) -> None:
    async with syncing(state) as sync, await State.open(state, owner="test") as opened:
        wrong: list[tuple[tuple[Any, ...], str]] = [
            ((None, sync.service, SyncSettings()), "state must be a State, not NoneType"),
            ((opened, sync.session, SyncSettings()), "services must be a Callable, not ConnectorSession"),
            ((opened, sync.service, WireFormat.GUIDE), "settings must be a SyncSettings, not WireFormat"),
        ]
        for arguments, message in wrong:
            with pytest.raises(TypeError, match=message):
                BulkSync(*arguments)
        with pytest.raises(TypeError, match="clock must be a Clock or None, not int"):
            BulkSync(opened, sync.service, SyncSettings(), clock=0)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="progress must be a ProgressListener or None, not function"):
            BulkSync(opened, sync.service, SyncSettings(), progress=print_nothing)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="options must be a SyncOptions, not Mode"):
            await BulkSync(opened, sync.service, SyncSettings()).run(Listed([]), Mode.TRUST)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="options must be a PullOptions, not SyncOptions"):
            Pull(opened, sync.service, SyncOptions())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="clock must be a Clock, not int"):
            Budget(5)  # type: ignore[arg-type]
        assert sync.writes() == {}


@pytest.mark.parametrize(
    ("body_format", "plan", "message"),
    [
        (BodyFormat.GUIDE, SyncOptions(window=timedelta(days=1)), "window must be None: WireFormat.GUIDE"),
        (
            BodyFormat.REFERENCE,
            SyncOptions(mode=Mode.CHECK),
            "scope must have a start and an end: WireFormat.REFERENCE",
        ),
        (
            BodyFormat.REFERENCE,
            SyncOptions(mode=Mode.CHECK, scope=Scope(start=TEN)),
            "scope must have a start and an end",
        ),
    ],
)
async def test_what_the_wire_format_cannot_do_is_refused_before_anything_is_written(
    state: Path, body_format: BodyFormat, plan: SyncOptions, message: str
) -> None:
    calendar_of = {BodyFormat.GUIDE: ACME, BodyFormat.REFERENCE: USER}
    async with syncing(state, body_format=body_format) as sync, sync.opened() as (bulk_sync, opened):
        serial = await opened.serial()
        source = Listed([record("a", calendar=calendar_of[body_format])])
        with pytest.raises(ValueError, match=message):
            await bulk_sync.run(source, plan)
        with pytest.raises(ValueError, match=message):
            async for _ in bulk_sync.plan(source, plan):
                pass
        assert (await opened.serial(), sync.writes()) == (serial, {})


@pytest.mark.parametrize(
    ("body_format", "plan", "message"),
    [
        (
            BodyFormat.GUIDE,
            PullOptions(calendars=[ACME], window=timedelta(days=1)),
            "window must be None: WireFormat.GUI",
        ),
        (
            BodyFormat.GUIDE,
            PullOptions(calendars=[ACME, USER]),
            "ad_id and domain_id must be missing: WireFormat.GUIDE",
        ),
        (
            BodyFormat.REFERENCE,
            PullOptions(calendars=[USER]),
            "scope must have a start and an end: WireFormat.REFERENCE",
        ),
        (
            BodyFormat.REFERENCE,
            PullOptions(calendars=[USER, ACME]),
            "ad_id and domain_id must be given: WireFormat.REF",
        ),
    ],
)
async def test_what_a_pull_cannot_ask_for_is_refused_before_it_is_begun(
    state: Path, body_format: BodyFormat, plan: PullOptions, message: str
) -> None:
    async with syncing(state, body_format=body_format) as sync, sync.opened() as (_, opened):
        with pytest.raises(ValueError, match=message):
            async for _ in Pull(opened, sync.service, plan):
                pass
        async with opened.reading() as connection:
            assert (await connection.execute(select(runs))).all() == []
        assert sync.writes() == {}


async def test_a_service_in_another_wire_format_than_the_settings_say_ends_the_run_before_it_sends(state: Path) -> None:
    async with syncing(state) as sync, await State.open(state, owner="test") as opened:
        bulk_sync = BulkSync(
            opened, lambda _: AppointmentService(sync.session), SyncSettings(wire_format=WireFormat.REFERENCE)
        )
        with pytest.raises(ValueError, match=r"in WireFormat.REFERENCE, as the settings say, not in WireFormat.G"):
            await bulk_sync.run(Listed([record("a", calendar=USER)]), SyncOptions())
        assert sync.writes() == {}


async def test_a_source_of_something_else_ends_the_run(state: Path) -> None:
    class Texts:
        name = "texts"

        async def records(self) -> AsyncIterator[Any]:
            yield SECRET

    async with syncing(state) as sync, sync.opened() as (bulk_sync, _):
        with pytest.raises(TypeError, match=r"^texts must yield SourceRecord and SourceProblem, not str$"):
            await bulk_sync.run(Texts(), SyncOptions())
        assert sync.writes() == {}


# What a record has, and the wire format does not carry.


async def test_a_zone_and_that_a_description_is_text_need_not_be_carried(state: Path) -> None:
    fields: dict[str, Any] = {"time_zone": "Europe/Berlin", "description": "What for", "description_type": "Text"}
    async with syncing(state) as sync:
        assert (await sync.run([record("a", **fields)])).counts == {Fate.CREATED: 1}
        report = await sync.run([record("a", "Another", **fields)], mode=Mode.CHECK)
        assert report.counts == {Fate.UPDATED: 1}
        assert await sync.titles() == ["Another"]
        assert (await sync.run([record("a", "Another", **fields)], mode=Mode.CHECK)).counts == {}


async def test_a_zone_is_sent_where_it_is_carried(state: Path) -> None:
    fields: dict[str, Any] = {"time_zone": "Europe/Berlin", "description": "<p>", "description_type": "Html"}
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        assert (await sync.run([record("a", calendar=USER, **fields)])).counts == {Fate.CREATED: 1}
        day = timedelta(days=1)
        (found,) = await sync.service(USER).preview(TEN - day, TEN + day).collect()
        assert (found.time_zone, found.description_type) == ("Europe/Berlin", "Html")


async def test_an_icalendar_with_zones_is_synced_without_carrying_them(state: Path, tmp_path: Path) -> None:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//", "BEGIN:VEVENT", "UID:a", "SUMMARY:Visit"]
    lines += ["DTSTART;TZID=Europe/Berlin:20240115T110000", "DTEND;TZID=Europe/Berlin:20240115T113000"]
    lines += ["END:VEVENT", "END:VCALENDAR", ""]
    (tmp_path / "a.ics").write_text("\r\n".join(lines))
    source = ICalendarSource(tmp_path / "a.ics", tenant_id="acme")
    async with syncing(state) as sync, sync.opened() as (bulk_sync, _):
        assert (await bulk_sync.run(source, SyncOptions())).counts == {Fate.CREATED: 1}
        (found,) = await sync.service(ACME).preview().collect()
        assert (found.title, found.start_time) == ("Visit", TEN)


@pytest.mark.parametrize(
    ("body_format", "fields", "reason"),
    [
        (BodyFormat.GUIDE, {"description": "<p>", "description_type": "Html"}, "description_type is not carried by"),
        (BodyFormat.REFERENCE, {"time_zone": "Mars/Olympus"}, "time_zone"),
        (BodyFormat.GUIDE, {"calendar": USER}, "ad_id and domain_id must be missing: WireFormat.GUIDE carries no user"),
        (BodyFormat.REFERENCE, {"calendar": ACME}, "ad_id and domain_id must be given: WireFormat.REFERENCE names"),
    ],
)
async def test_a_record_that_cannot_be_sent_is_a_problem_and_stops_no_other(
    state: Path, body_format: BodyFormat, fields: dict[str, Any], reason: str
) -> None:
    whose = USER if body_format is BodyFormat.REFERENCE else ACME
    records = [record("bad", **{"calendar": whose} | fields), record("good", calendar=whose)]
    async with syncing(state, body_format=body_format) as sync:
        report = await sync.run(records)
        assert report.counts == {Fate.CREATED: 1, Fate.UNREADABLE: 1}
        assert await sync.titles(whose) == ["Visit good"]
        async with sync.opened() as (_, opened), opened.reading() as connection:
            text = "".join(map(str, (await connection.exec_driver_sql("select reason from dead_letters")).all()))
            assert reason in text
            assert await StateReader(opened).pending_creates(whose) == []
