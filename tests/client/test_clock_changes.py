"""Times across a change to or from daylight saving time are compared and added to in UTC."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import orjson
import pytest

from connector_async import DirectoryUser, NewAppointment, WireFormat
from connector_async.sandbox import SeedAppointment
from connector_async.sync.scope import Scope
from tests.support.hostile import HostileServer, http
from tests.support.services import FIELDS, open_service

BERLIN = ZoneInfo("Europe/Berlin")
# On 27 October 2024 the clocks go from 03:00 back to 02:00, which is 01:00 in UTC.
BEFORE = datetime(2024, 10, 27, 2, 45, tzinfo=BERLIN)
AFTER = datetime(2024, 10, 27, 2, 15, tzinfo=BERLIN, fold=1)
# On 31 March 2024 they go from 02:00 to 03:00. No clock shows 02:30, which means 01:30 in UTC.
IN_GAP = datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN)
SHOWN_LATER = datetime(2024, 3, 31, 3, 10, tzinfo=BERLIN)

RANGES = {"over the fold": (BEFORE, AFTER), "over the gap": (SHOWN_LATER, IN_GAP)}


async def requested_ranges(start: datetime, end: datetime, **options: Any) -> list[dict[str, str]]:
    """Return the time ranges in the requests of a preview."""
    async with HostileServer(http(200, b"[]")) as server:
        user = DirectoryUser("alice", "d-1")
        service = open_service(server, user=user, wire_format=WireFormat.REFERENCE)
        await service.preview(start, end, **options).collect()
        queries = [parse_qs(urlsplit(request.target).query) for request in server.requests]
        return [{name: query[name][0] for name in ("startDate", "endDate")} for query in queries]


@pytest.mark.parametrize(("start", "end"), RANGES.values(), ids=RANGES)
async def test_range_whose_end_is_later_in_utc_is_accepted(start: datetime, end: datetime) -> None:
    (requested,) = await requested_ranges(start, end)
    assert requested["startDate"] == f"{start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert requested["endDate"] == f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(("start", "end"), RANGES.values(), ids=RANGES)
async def test_range_whose_end_is_earlier_in_utc_is_rejected(start: datetime, end: datetime) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        with pytest.raises(ValueError, match="end must not be before start"):
            open_service(server).preview(end, start)
        assert server.requests == []


async def test_windows_are_split_in_utc() -> None:
    requested = await requested_ranges(BEFORE, AFTER, window=timedelta(minutes=20))
    assert [window["startDate"] for window in requested] == ["2024-10-27T00:45:00Z", "2024-10-27T01:05:00Z"]
    assert requested[-1]["endDate"] == "2024-10-27T01:15:00Z"


async def test_appointment_at_a_repeated_local_time_is_in_the_preview() -> None:
    at = {"startTime": "2024-10-27T01:15:00Z", "endTime": "2024-10-27T01:15:00Z"}
    async with HostileServer(http(200, orjson.dumps([FIELDS | at]))) as server:
        found = await open_service(server).preview(AFTER, AFTER + timedelta(hours=1)).collect()
    assert len(found) == 1


async def test_range_outside_the_years_of_utc_is_rejected_by_name() -> None:
    async with HostileServer(http(200, b"[]")) as server:
        with pytest.raises(ValueError, match="start: outside the years 1 to 9999 in UTC"):
            open_service(server).preview(datetime(1, 1, 1, tzinfo=BERLIN))
        await asyncio.sleep(0)
        assert server.requests == []


@pytest.mark.parametrize(("start", "end"), RANGES.values(), ids=RANGES)
def test_models_scopes_and_seeds_compare_in_utc(start: datetime, end: datetime) -> None:
    NewAppointment(title="x", start_time=start, end_time=end)
    scope = Scope(start=start, end=end)
    assert (scope.start, scope.end) == (start.astimezone(UTC), end.astimezone(UTC))
    SeedAppointment(title="x", start=start, end=end)
    for build in (
        lambda: NewAppointment(title="x", start_time=end, end_time=start),
        lambda: Scope(start=end, end=start),
        lambda: SeedAppointment(title="x", start=end, end=start),
    ):
        with pytest.raises(ValueError, match="must not be before"):
            build()
