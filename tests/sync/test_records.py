"""Records, their rows, and the hash of their content."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given

from connector_async import Appointment, DirectoryUser, NewAppointment
from connector_async._timestamps import format_instant
from connector_async.sync import Calendar, SourceRecord, content_hash
from connector_async.sync.records import (
    appointment_from_row,
    content_hash_of_row,
    record_from_row,
    row_of,
    sortable,
    sortable_string,
)
from tests.support.sync_files import records

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ROW = {
    "key": "k-1",
    "tenant_id": "acme",
    "title": "Visit",
    "start_time": "2024-01-15T10:00:00Z",
    "end_time": "2024-01-15T11:00:00Z",
}
USER = {"ad_id": "u-1", "domain_id": "d-1"}


@given(records())
def test_record_survives_its_row(record: SourceRecord) -> None:
    assert record_from_row(row_of(record)) == record
    assert appointment_from_row(row_of(record)) == record.appointment
    assert content_hash_of_row(row_of(record)) == content_hash(record.appointment)


@pytest.mark.parametrize("microseconds", [0, 1, 120_000])
def test_formatted_instant_sorts_as_the_instant(microseconds: int) -> None:
    instant = TEN.replace(microsecond=microseconds)
    assert sortable_string(format_instant(instant)) == sortable(instant)


def test_row_without_a_tenant_belongs_to_the_default_one() -> None:
    row = {name: value for name, value in ROW.items() if name != "tenant_id"}
    assert record_from_row(row, tenant_id="globex").calendar == Calendar("globex")
    assert record_from_row(ROW, tenant_id="globex").calendar == Calendar("acme")
    assert record_from_row(ROW | USER).calendar.user == DirectoryUser("u-1", "d-1")
    assert record_from_row(ROW).calendar.user is None


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"key": None}, "key is missing"),
    "unprintable key": ({"key": "a\n"}, "key must"),
    "no tenant": ({"tenant_id": None}, "tenant_id must not be empty"),
    "tenant that a header cannot carry": ({"tenant_id": "ä"}, "tenant_id must be printable ASCII"),
    "user without a domain": ({"ad_id": "u-1"}, "domain_id is missing"),
    "domain without a user": ({"domain_id": "u-1"}, "ad_id is missing"),
    "blank title": ({"title": " "}, "title must not be blank"),
    "naive start": ({"start_time": "2024-01-15T10:00:00"}, "start_time: no UTC offset"),
    "date without a time": ({"end_time": "2024-01-15"}, "end_time: not an RFC 3339 date-time"),
    "end before start": ({"end_time": "2024-01-15T09:00:00Z"}, "end_time must not be before start_time"),
    "unknown description type": ({"description": "x", "description_type": "Rtf"}, "description_type must be one of"),
    "unknown field": ({"location": "x"}, "location is not known"),
    "unknown field with an odd name": ({"a b": "x"}, "a field is not known"),
    "number as a title": ({"title": 5}, "title must be a str, not int"),
    "number as a description": ({"description": 5}, "description must be a str, not int"),
    "invalid modified": ({"modified": "yesterday"}, "modified: not an RFC 3339 date-time"),
}


@pytest.mark.parametrize(("change", "problem"), INVALID.values(), ids=INVALID)
def test_invalid_row_is_rejected_by_the_name_of_its_field(change: dict[str, Any], problem: str) -> None:
    with pytest.raises((ValueError, TypeError), match=problem) as caught:
        record_from_row(ROW | change)
    assert "Visit" not in str(caught.value)


def test_hash_covers_the_content_alone() -> None:
    def new(**changes: Any) -> NewAppointment:
        fields: dict[str, Any] = {"title": "Visit", "start_time": TEN, "end_time": TEN + timedelta(hours=1)}
        return NewAppointment(**fields | changes)

    plain = content_hash(new())
    same = [
        new(start_time=TEN.astimezone(timezone(timedelta(hours=2)))),
        new(description=None),
        new(description=""),
        new(time_zone="Europe/Berlin"),
        new(extra={"x": 1}),
    ]
    other = [
        new(title="Visit "),
        new(start_time=TEN - timedelta(microseconds=1)),
        new(end_time=TEN),
        new(description="x"),
        new(description="x", description_type="Html"),
    ]
    assert {content_hash(appointment) for appointment in same} == {plain}
    assert len({plain, *map(content_hash, other)}) == len(other) + 1
    assert content_hash(new(description="x", description_type="Text")) == content_hash(new(description="x"))
    server = Appointment("7", "Visit", TEN, TEN + timedelta(hours=1), description="", extra={"y": 2})
    assert content_hash(server) == plain
