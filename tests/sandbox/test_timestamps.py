from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sandbox.timestamps import from_stored, parse_instant, to_stored, to_wire

# Hypothesis takes naive bounds.
YEAR_2, YEAR_9998 = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (2, 9998))
INSTANTS = st.datetimes(timezones=st.just(UTC))
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-15T10:00:00Z", datetime(2024, 1, 15, 10, tzinfo=UTC)),
        ("2024-01-15T10:00:00+02:00", datetime(2024, 1, 15, 8, tzinfo=UTC)),
        ("2024-01-15T10:00:00-05:30", datetime(2024, 1, 15, 15, 30, tzinfo=UTC)),
        ("2024-01-15T10:00:00-00:00", datetime(2024, 1, 15, 10, tzinfo=UTC)),
        ("2024-02-29T23:59:59.5Z", datetime(2024, 2, 29, 23, 59, 59, 500_000, tzinfo=UTC)),
        ("2024-01-15T10:00:00.9999999Z", datetime(2024, 1, 15, 10, 0, 0, 999_999, tzinfo=UTC)),
    ],
)
def test_rfc_3339_date_time_is_read_in_utc_and_truncated_to_microseconds(value: str, expected: datetime) -> None:
    assert parse_instant(value) == expected
    assert parse_instant(value).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-15",
        "2024-01-15T10:00:00",
        "2024-01-15T10:00Z",
        "2024-01-15 10:00:00Z",
        "2024-01-15t10:00:00z",
        "2024-01-15T10:00:00,5Z",
        "2024-01-15T10:00:00.Z",
        "2024-W03-1T10:00:00Z",
        "20240115T100000Z",
        "2024-01-15T10:00:00+0200",
        "2024-01-15T10:00:00+24:00",
        "2024-01-15T10:00:00+02:60",
        "2024-01-15T10:00:00Z\n",
        "2024-01-15T24:00:00Z",
        "2024-01-15T10:00:60Z",
        "2023-02-29T10:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "٢٠٢٤-01-15T10:00:00Z",
    ],
)
def test_other_forms_and_nonexistent_times_are_rejected(value: str) -> None:
    with pytest.raises(ValueError, match=r"^not an "):
        parse_instant(value)


@given(INSTANTS, st.sampled_from(["isoformat", "dotnet"]))
def test_written_instant_reads_back_as_the_same(instant: datetime, form: str) -> None:
    value = instant.isoformat() if form == "isoformat" else to_wire(instant)
    assert parse_instant(value) == instant
    assert from_stored(to_stored(instant)) == instant


@given(st.datetimes(YEAR_2, YEAR_9998, timezones=OFFSETS))
def test_instant_is_the_same_with_every_offset(local: datetime) -> None:
    assert parse_instant(local.isoformat()) == local


@given(INSTANTS, INSTANTS)
def test_stored_strings_sort_as_the_instants(one: datetime, other: datetime) -> None:
    assert (to_stored(one) < to_stored(other)) == (one < other)


def test_wire_form_has_no_fraction_or_seven_digits() -> None:
    assert to_wire(datetime(987, 1, 15, 10, tzinfo=UTC)) == "0987-01-15T10:00:00Z"
    assert to_wire(datetime(2024, 1, 15, 10, 0, 0, 20, tzinfo=UTC)) == "2024-01-15T10:00:00.0000200Z"
