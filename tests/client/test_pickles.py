"""Values that an application may keep can be pickled and copied, and are equal afterwards."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from connector_async import (
    UNSET,
    Appointment,
    AppointmentUpdate,
    AutoDetectPaging,
    BulkReport,
    CallRecord,
    CursorPaging,
    DirectoryUser,
    LinkHeader,
    NewAppointment,
    NextLink,
    OffsetLimit,
    OnePage,
    Outcome,
    Page,
    PageNumbers,
    PageRequest,
    PageResponse,
    RateLimit,
    RawResponse,
    RetryPolicy,
    Status,
    Traffic,
    WireFormat,
)
from connector_async.protocol import Response
from connector_async.sync import Calendar, PullOptions, SyncOptions
from connector_async.sync.pull import Change, ChangeKind
from connector_async.sync.records import SourceRecord
from connector_async.sync.report import RunReport, TenantReport
from tests.support.hostile import HostileServer
from tests.support.services import PREVIEW, open_service

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
HEADERS = CIMultiDictProxy(CIMultiDict([("Link", "<a>"), ("link", "<b>"), ("X-Request-Id", "r-1")]))
FOUND = Appointment("1", "Visit", TEN, TEN, None)
DRAFT = NewAppointment(title="Visit", start_time=TEN, end_time=TEN)
ACME = Calendar("acme")

VALUES: list[Any] = [
    Page(items=[FOUND]),
    Page(items=[FOUND], continuation_token="c", raw=HEADERS, fingerprint=5),
    PageRequest(),
    PageRequest(parameters={"page": "2"}),
    PageResponse(body=[1], headers=HEADERS, url="http://h/p", status=206),
    Response(status=200, headers=HEADERS, body=b"x"),
    Response(status=200, headers=HEADERS, body=b"x", wire_format=WireFormat.REFERENCE, assume_zone=UTC),
    RawResponse(result=FOUND, status=200, headers=HEADERS, request_id="r-1", attempts=1, elapsed=0.5),
    FOUND,
    DRAFT,
    AppointmentUpdate(appointment_id="1", title="x"),
    DirectoryUser("a", "d"),
    UNSET,
    WireFormat.REFERENCE,
    RateLimit(limit=100),
    RateLimit.unlimited(),
    RetryPolicy(),
    *(CursorPaging(), PageNumbers(), OffsetLimit(), OnePage(), NextLink(), LinkHeader(), AutoDetectPaging()),
    Outcome(index=0, input=DRAFT, status=Status.DONE, result=FOUND),
    BulkReport(),
    CallRecord(operation="get", attempts=2, elapsed=0.5, request_id="r-1", status=200, headers=HEADERS),
    Traffic(requests=1, waited=0.5),
    ACME,
    SourceRecord(key="k", calendar=ACME, appointment=DRAFT),
    Change.of(ChangeKind.CREATED, ACME, "k", FOUND),
    RunReport(run_id="r", tenants={"acme": TenantReport()}),
    SyncOptions(),
    PullOptions(calendars=[ACME]),
]
WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def has_own_reduce(value: Any) -> bool:
    return any("__reduce__" in kind.__dict__ for kind in type(value).__mro__[:-1])


@pytest.mark.parametrize(
    ("value", "way"),
    [
        *[pytest.param(value, "pickle", id=f"{type(value).__name__}-pickle") for value in VALUES],
        # The others are copied as attrs and the standard library do it.
        *[
            pytest.param(value, way, id=f"{type(value).__name__}-{way}")
            for value in [*filter(has_own_reduce, VALUES), FOUND, RetryPolicy()]
            for way in ("copy", "deepcopy")
        ],
    ],
)
def test_pickled_or_copied_value_is_equal(value: Any, way: str) -> None:
    copied = WAYS[way](value)
    assert copied == value
    assert repr(copied) == repr(value)


@pytest.mark.parametrize("way", WAYS)
async def test_headers_of_a_copied_page_are_case_insensitive_and_read_only(way: str) -> None:
    async with HostileServer(PREVIEW.replace(b"Content-Type", b"X-Kind: a\r\nx-kind: b\r\nContent-Type")) as server:
        pages = [page async for page in open_service(server).preview().pages()]
    copied = WAYS[way](pages[0])
    assert copied == pages[0]
    assert copied.raw["X-KIND"] == "a"
    assert [value for name, value in copied.raw.items() if name.lower() == "x-kind"] == ["a", "b"]
    with pytest.raises(TypeError):
        copied.raw["X-Kind"] = "c"


@pytest.mark.parametrize("way", WAYS)
def test_unset_and_empty_values_stay_the_same_objects(way: str) -> None:
    assert WAYS[way](UNSET) is UNSET
    assert WAYS[way](DRAFT).extra is DRAFT.extra
    assert WAYS[way](FOUND).extra is FOUND.extra
