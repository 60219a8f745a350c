"""What a sync rejects before anything is written or sent, and records that a wire format does not carry."""

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
from tests.support.syncing import ACME, TEN, USER, ListSource, record, syncing

EAST = timezone(timedelta(hours=5))
NAIVE = datetime(2024, 1, 15, 10)
SECRET = "Hunter"
CALENDARS = {BodyFormat.GUIDE: ACME, BodyFormat.REFERENCE: USER}


def source_record(**fields: Any) -> SourceRecord:
    appointment = record("k", f"{SECRET}'s visit").appointment
    options: dict[str, Any] = {"key": "k", "calendar": ACME, "appointment": appointment}
    return SourceRecord(**options | fields)


def source_problem(**fields: Any) -> SourceProblem:
    options: dict[str, Any] = {"source": "list", "line": None, "reason": "why"}
    return SourceProblem(**options | fields)


def pull_options(**fields: Any) -> PullOptions:
    options: dict[str, Any] = {"calendars": [ACME]}
    return PullOptions(**options | fields)


Invalid = list[tuple[dict[str, Any], str]]

WRONG_TYPES: dict[Callable[..., Any], Invalid] = {
    Calendar: [
        ({"tenant_id": 1}, "tenant_id must be a str"),
        ({"tenant_id": "acme", "domain_id": 1, "ad_id": "a"}, "domain_id must be a str"),
        ({"tenant_id": "acme", "domain_id": "d", "ad_id": None}, "ad_id must be a str"),
    ],
    source_record: [
        ({"key": 1}, "key must be a str, not int"),
        ({"calendar": "acme"}, "calendar must be a Calendar, not str"),
        ({"appointment": f"{SECRET}'s visit"}, "appointment must be a NewAppointment, not str"),
        ({"modified": "2024"}, "modified must be a datetime or None, not str"),
    ],
    source_problem: [
        ({"key": 5}, "key must be a str, not int"),
        ({"calendar": "acme"}, "calendar must be a Calendar, not str"),
    ],
    Scope: [({"start": "2024-01-15"}, "start must be a datetime")],
    SyncOptions: [
        ({"mode": "trust"}, "mode must be a Mode, not str"),
        ({"rules": Policy.LOCAL}, "rules must be a ConflictRules, not Policy"),
        ({"scope": (TEN, TEN)}, "scope must be a Scope, not tuple"),
        ({"window": 7}, "window must be a timedelta, not int"),
        ({"max_delete": 5}, "max_delete must be a MaxDelete, not int"),
        ({"allow_empty": 1}, "allow_empty must be a bool, not int"),
        ({"retry_run": 7}, "retry_run must be a str, not int"),
    ],
    ConflictRules: [
        ({"policy": "local"}, "policy must be a Policy, not str"),
        ({"modified_field": None}, "modified_field must be a str, not NoneType"),
        ({"on_conflict": "local"}, "on_conflict must be callable, not str"),
    ],
    pull_options: [
        ({"calendars": ""}, "calendars must be a sequence of Calendar"),
        ({"calendars": ACME}, "calendars must be a sequence of Calendar"),
        ({"calendars": ["acme"]}, "calendars must be a sequence of Calendar"),
        ({"window": 7}, "window must be a timedelta"),
        ({"scope": None}, "scope must be a Scope"),
    ],
    MaxDelete: [
        ({"number": True}, "max_delete must have an int"),
        ({"number": 1.5}, "max_delete must have an int"),
        ({"share": "50%"}, "or a float as its share"),
    ],
    SyncSettings: [
        ({"wire_format": "guide"}, "wire_format must be a WireFormat, not str"),
        ({"read_first": 1}, "read_first must be a bool, not int"),
        ({"concurrency": 1.0}, "concurrency must be an int"),
    ],
}

WRONG_VALUES: dict[Callable[..., Any], Invalid] = {
    Calendar: [
        ({"tenant_id": ""}, "tenant_id must not be empty"),
        ({"tenant_id": "acme", "domain_id": "d"}, "ad_id and domain_id must be given together"),
        ({"tenant_id": "acme", "ad_id": "a"}, "ad_id and domain_id must be given together"),
        ({"tenant_id": "acme", "domain_id": "d\n", "ad_id": "a"}, "domain_id must be printable"),
    ],
    source_record: [
        ({"key": ""}, "key must not be empty"),
        ({"modified": NAIVE}, "modified must be aware"),
        ({"modified": datetime.min.replace(tzinfo=EAST)}, "modified must lie within the years 1 to 9999"),
    ],
    record: [({"key": "k", "extra": {"color": SECRET}}, "appointment must have no extra")],
    source_problem: [
        ({"key": ""}, "key must not be empty"),
        ({"key": "a\n"}, "key must be printable"),
    ],
    Scope: [
        ({"start": NAIVE}, "start must be aware"),
        ({"start": TEN, "end": TEN - timedelta(1)}, "end must not be before start"),
    ],
    SyncOptions: [
        ({"window": timedelta(0)}, "window must be above zero"),
        ({"retry_run": ""}, "retry_run must not be empty"),
    ],
    pull_options: [
        ({"window": timedelta(-1)}, "window must be above zero"),
        ({"calendars": []}, "calendars must not be empty"),
    ],
    SyncSettings: [
        ({"passes": 0}, "passes must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"grace": float("nan")}, "grace must be"),
        ({"pause": -1.0}, "pause must be"),
    ],
}


def names(made: object) -> str:
    return str(getattr(made, "__name__", ""))


@pytest.mark.parametrize("make", WRONG_TYPES, ids=names)
def test_field_of_another_type_is_rejected_by_name(make: Callable[..., Any]) -> None:
    for fields, message in WRONG_TYPES[make]:
        with pytest.raises(TypeError, match=message) as caught:
            make(**fields)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("make", WRONG_VALUES, ids=names)
def test_field_out_of_range_is_rejected_by_name(make: Callable[..., Any]) -> None:
    for fields, message in WRONG_VALUES[make]:
        with pytest.raises(ValueError, match=message) as caught:
            make(**fields)
        assert SECRET not in str(caught.value)


async def test_arguments_of_another_type_are_rejected(state_path: Path) -> None:
    async with syncing(state_path) as sync, await State.open(state_path, owner="test") as state:
        wrong: list[tuple[tuple[Any, ...], str]] = [
            ((None, sync.service, SyncSettings()), "state must be a State, not NoneType"),
            ((state, sync.session, SyncSettings()), "services must be a Callable, not ConnectorSession"),
            ((state, sync.service, WireFormat.GUIDE), "settings must be a SyncSettings, not WireFormat"),
        ]
        for arguments, message in wrong:
            with pytest.raises(TypeError, match=message):
                BulkSync(*arguments)
        with pytest.raises(TypeError, match="clock must be a Clock or None, not int"):
            BulkSync(state, sync.service, SyncSettings(), clock=0)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="progress must be a ProgressListener or None, not builtin_function"):
            BulkSync(state, sync.service, SyncSettings(), progress=print)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="options must be a SyncOptions, not Mode"):
            await BulkSync(state, sync.service, SyncSettings()).run(ListSource([]), Mode.TRUST)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="options must be a PullOptions, not SyncOptions"):
            Pull(state, sync.service, SyncOptions())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="clock must be a Clock, not int"):
            Budget(5)  # type: ignore[arg-type]
        assert sync.requests() == {}


@pytest.mark.parametrize(
    ("body_format", "options", "message"),
    [
        (BodyFormat.GUIDE, SyncOptions(window=timedelta(days=1)), "window must be None: WireFormat.GUIDE"),
        (
            BodyFormat.REFERENCE,
            SyncOptions(mode=Mode.CHECK, scope=Scope(start=TEN)),
            "scope must have a start and an end: WireFormat.REFERENCE",
        ),
    ],
)
async def test_options_that_the_wire_format_cannot_serve_are_rejected(
    state_path: Path, body_format: BodyFormat, options: SyncOptions, message: str
) -> None:
    async with syncing(state_path, body_format=body_format) as sync, sync.opened() as (bulk_sync, state):
        serial = await state.serial()
        source = ListSource([record("a", calendar=CALENDARS[body_format])])
        with pytest.raises(ValueError, match=message):
            await bulk_sync.run(source, options)
        with pytest.raises(ValueError, match=message):
            async for _ in bulk_sync.plan(source, options):
                pass
        assert (await state.serial(), sync.requests()) == (serial, {})


@pytest.mark.parametrize(
    ("body_format", "options", "message"),
    [
        (BodyFormat.GUIDE, pull_options(window=timedelta(days=1)), "window must be None: WireFormat.GUIDE"),
        (
            BodyFormat.GUIDE,
            pull_options(calendars=[ACME, USER]),
            "ad_id and domain_id must be missing: WireFormat.GUIDE",
        ),
        (
            BodyFormat.REFERENCE,
            pull_options(calendars=[USER]),
            "scope must have a start and an end: WireFormat.REFERENCE",
        ),
        (
            BodyFormat.REFERENCE,
            pull_options(calendars=[USER, ACME]),
            "ad_id and domain_id must be given: WireFormat.REF",
        ),
    ],
)
async def test_pull_options_that_the_wire_format_cannot_serve_are_rejected(
    state_path: Path, body_format: BodyFormat, options: PullOptions, message: str
) -> None:
    async with syncing(state_path, body_format=body_format) as sync, sync.opened() as (_, state):
        with pytest.raises(ValueError, match=message):
            async for _ in Pull(state, sync.service, options):
                pass
        async with state.reading() as connection:
            assert (await connection.execute(select(runs))).all() == []
        assert sync.requests() == {}


async def test_service_in_another_wire_format_ends_the_run_before_it_sends(state_path: Path) -> None:
    async with syncing(state_path) as sync, await State.open(state_path, owner="test") as state:
        settings = SyncSettings(wire_format=WireFormat.REFERENCE)
        bulk_sync = BulkSync(state, lambda _: AppointmentService(sync.session), settings)
        message = r"a service in WireFormat\.REFERENCE, as the settings say, not in WireFormat\.GUIDE"
        with pytest.raises(ValueError, match=message):
            await bulk_sync.run(ListSource([record("a", calendar=USER)]), SyncOptions())
        assert sync.requests() == {}


async def test_source_that_yields_something_else_ends_the_run(state_path: Path) -> None:
    class Strings:
        name = "strings"

        async def records(self) -> AsyncIterator[Any]:
            yield SECRET

    async with syncing(state_path) as sync, sync.opened() as (bulk_sync, _):
        with pytest.raises(TypeError, match=r"^strings must yield SourceRecord and SourceProblem, not str$"):
            await bulk_sync.run(Strings(), SyncOptions())
        assert sync.requests() == {}


# Fields of records that a wire format does not carry.


async def test_time_zone_and_plain_text_type_may_be_left_out(state_path: Path) -> None:
    fields: dict[str, Any] = {"time_zone": "Europe/Berlin", "description": "What for", "description_type": "Text"}
    async with syncing(state_path) as sync:
        assert (await sync.run([record("a", **fields)])).counts == {Fate.CREATED: 1}
        report = await sync.run([record("a", "Another", **fields)], mode=Mode.CHECK)
        assert report.counts == {Fate.UPDATED: 1}
        assert await sync.titles() == ["Another"]
        assert (await sync.run([record("a", "Another", **fields)], mode=Mode.CHECK)).counts == {}


async def test_time_zone_is_sent_where_it_is_carried(state_path: Path) -> None:
    fields: dict[str, Any] = {"time_zone": "Europe/Berlin", "description": "<p>", "description_type": "Html"}
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        assert (await sync.run([record("a", calendar=USER, **fields)])).counts == {Fate.CREATED: 1}
        day = timedelta(days=1)
        (created,) = await sync.service(USER).preview(TEN - day, TEN + day).collect()
        assert (created.time_zone, created.description_type) == ("Europe/Berlin", "Html")


async def test_icalendar_with_time_zones_is_synced_without_them(state_path: Path, tmp_path: Path) -> None:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//", "BEGIN:VEVENT", "UID:a", "SUMMARY:Visit"]
    lines += ["DTSTART;TZID=Europe/Berlin:20240115T110000", "DTEND;TZID=Europe/Berlin:20240115T113000"]
    lines += ["END:VEVENT", "END:VCALENDAR", ""]
    (tmp_path / "a.ics").write_text("\r\n".join(lines))
    source = ICalendarSource(tmp_path / "a.ics", tenant_id="acme")
    async with syncing(state_path) as sync, sync.opened() as (bulk_sync, _):
        assert (await bulk_sync.run(source, SyncOptions())).counts == {Fate.CREATED: 1}
        (created,) = await sync.service(ACME).preview().collect()
        assert (created.title, created.start_time) == ("Visit", TEN)


@pytest.mark.parametrize(
    ("body_format", "fields", "reason"),
    [
        (BodyFormat.GUIDE, {"description": "<p>", "description_type": "Html"}, "description_type is not carried by"),
        (BodyFormat.REFERENCE, {"time_zone": "Mars/Olympus"}, "time_zone"),
        (BodyFormat.GUIDE, {"calendar": USER}, "ad_id and domain_id must be missing: WireFormat.GUIDE carries no user"),
        (BodyFormat.REFERENCE, {"calendar": ACME}, "ad_id and domain_id must be given: WireFormat.REFERENCE names"),
    ],
)
async def test_record_that_cannot_be_sent_is_a_problem_and_stops_no_other(
    state_path: Path, body_format: BodyFormat, fields: dict[str, Any], reason: str
) -> None:
    calendar = CALENDARS[body_format]
    records = [record("bad", **{"calendar": calendar} | fields), record("good", calendar=calendar)]
    async with syncing(state_path, body_format=body_format) as sync:
        report = await sync.run(records)
        assert report.counts == {Fate.CREATED: 1, Fate.UNREADABLE: 1}
        assert await sync.titles(calendar) == ["Visit good"]
        async with sync.opened() as (_, state), state.reading() as connection:
            reasons = "".join(map(str, (await connection.exec_driver_sql("select reason from dead_letters")).all()))
            assert reason in reasons
            assert await StateReader(state).pending_creates(calendar) == []
