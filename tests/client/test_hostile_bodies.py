"""Bodies that are expensive to decode, nested too deep, or beyond Python's types: a timely error, or kept exactly."""

import copy
import gc
import gzip
import json
import pickle
import time
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    ClientCredentials,
    CursorPaging,
    DecodingError,
    DirectoryUser,
    InvalidRequestError,
    NewAppointment,
    NotFoundError,
    WireFormat,
)
from connector_async.cli.options import DisplayOptions
from connector_async.cli.output import Printer
from tests.support.cases import CASES
from tests.support.hostile import HostileServer, http
from tests.support.services import FIELDS, open_service, resident_megabytes

GUIDE, REFERENCE = WireFormat.GUIDE, WireFormat.REFERENCE
USER = DirectoryUser("user-1", "directory-1")
MEGABYTE = 1_000_000
BOM = b"\xef\xbb\xbf"
NAIVE = orjson.dumps(
    {"appointmentId": "1", "title": "t", "subject": "t", "startTime": "2024-01-15T10:00:00", "endTime": "soon"}
)
BIG = 2**70 + 1  # beyond 64 bits


def array(item: bytes, size: int) -> bytes:
    return b"[" + b",".join([item] * (size // (len(item) + 1))) + b"]"


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def body(**raw: bytes) -> bytes:
    """Return the body of an appointment with further members. Their values are JSON."""
    more = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in raw.items())
    return orjson.dumps(FIELDS)[:-1] + more + b"}"


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Let the garbage collector traverse only what the test allocates, not what the process had before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def seconds_until_error(content: bytes, wire_format: WireFormat) -> float:
    start = time.thread_time()
    with pytest.raises(DecodingError) as caught:
        wire_format.structure(content, list[Appointment])
    assert len(caught.value.problems) <= 21
    return time.thread_time() - start


# Each item once in each format and once in each size; both formats are read in both sizes.
WRONG_ITEMS = [
    (b"1", 0.25, GUIDE), (b"1", 10, REFERENCE),
    (b"{}", 0.25, REFERENCE), (b"{}", 10, GUIDE),
    (b"[]", 0.25, GUIDE), (b"[]", 10, REFERENCE),
    (b"null", 0.25, REFERENCE), (b"null", 10, GUIDE),
    (b'""', 0.25, GUIDE), (b'""', 10, REFERENCE),
    (NAIVE, 50_000 * len(NAIVE) / MEGABYTE, GUIDE), (NAIVE, 50_000 * len(NAIVE) / MEGABYTE, REFERENCE),
]  # fmt: skip


@pytest.mark.row("H1")
@pytest.mark.parametrize(
    ("item", "megabytes", "wire_format"), WRONG_ITEMS, ids=lambda value: str(getattr(value, "name", value))[:8]
)
@pytest.mark.usefixtures("small_heap")
def test_invalid_items_cost_bounded_time_and_memory(item: bytes, megabytes: float, wire_format: WireFormat) -> None:
    content = array(item, int(megabytes * MEGABYTE))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident_megabytes("VmHWM")
    assert seconds_until_error(content, wire_format) < 0.3 * max(1, len(content) / MEGABYTE)
    assert resident_megabytes("VmHWM") - before < 50


@pytest.mark.row("H1")
async def test_compressed_array_of_invalid_items_is_a_timely_error() -> None:
    compressed = gzip.compress(array(b"1", 10 * MEGABYTE))
    async with HostileServer(http(200, compressed, Content_Encoding="gzip")) as server:
        service = open_service(server)
        start = time.thread_time()
        with pytest.raises(DecodingError):
            await service.preview(deadline=3.0).collect()
        assert time.thread_time() - start < 3.0


@pytest.mark.row("H1")
@pytest.mark.parametrize(
    "names", [sorted(zoneinfo.available_timezones()), [f"Made/up{number}" for number in range(5_000)]], ids=len
)
@pytest.mark.usefixtures("small_heap")
def test_many_names_of_time_zones_cost_bounded_time(names: list[str]) -> None:
    fields = {"appointmentId": "1", "subject": "t", "startTime": "2024-01-15T10:00:00Z"}
    fields["endTime"] = fields["startTime"]
    content = orjson.dumps([{**fields, "timeZone": name} for name in names])
    start = time.thread_time()
    assert len(REFERENCE.structure(content, list[Appointment])) == len(names)
    assert time.thread_time() - start < 0.2


def test_unknown_field_may_have_many_numbers() -> None:
    numbers = [255] * 90_000  # bytes, as some servers send them
    appointment = GUIDE.structure(body(photo=orjson.dumps(numbers)), Appointment)
    assert appointment.extra == {"photo": numbers}


def test_large_body_of_appointments_is_decoded() -> None:
    item = b'{"appointmentId":"1","title":"t","startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T10:00:00Z"}'
    assert len(GUIDE.structure(array(item, 2 * MEGABYTE), list[Appointment])) > 10_000


@pytest.mark.row("H9")
def test_unknown_field_of_64_levels_can_be_pickled_and_copied() -> None:
    appointment = GUIDE.structure(body(deep=nested(64)), Appointment)
    assert pickle.loads(pickle.dumps(appointment)) == copy.deepcopy(appointment) == appointment


@pytest.mark.row("H9")
@pytest.mark.parametrize("levels", [65, 300, 1_000])
async def test_unknown_field_that_is_nested_deeper_is_an_error(levels: int, draft: NewAppointment) -> None:
    deep = body(deep=nested(levels))
    page = b'{"items":[' + deep + b'],"nextCursor":"2"}'
    async with HostileServer(http(200, deep), http(201, deep), http(200, deep), http(200, page)) as server:
        service = open_service(server, paging=CursorPaging())
        for call in (
            service.get("123"),
            service.create(draft),
            service.update("123", title="Other"),
            service.preview().collect(),
        ):
            with pytest.raises(DecodingError) as caught:
                await call
            (problem,) = caught.value.problems
            assert problem.endswith("an unknown field is nested deeper than 64 levels")
            assert pickle.loads(pickle.dumps(caught.value)).problems == (problem,)


@pytest.mark.row("H9")
@pytest.mark.parametrize("levels", [300, 1_000])
async def test_deeply_nested_problem_or_token_response_is_a_typed_error(levels: int) -> None:
    async with HostileServer(http(400, b'{"errors":' + nested(levels) + b"}")) as server:
        with pytest.raises(InvalidRequestError) as caught:
            await open_service(server).get("123")
        assert caught.value.problem is None
    async with HostileServer(http(200, nested(levels))) as server:
        with pytest.raises(DecodingError):
            await open_service(server, auth=ClientCredentials("id", "secret")).get("123")


@pytest.mark.row("H9")
@pytest.mark.parametrize("value", [BIG, -BIG, 2**64, 1e30, -(2**63), 1.5])
async def test_number_in_an_unknown_field_is_kept_exactly(value: float, draft: NewAppointment) -> None:
    content = body(number=json.dumps([value]).encode())
    first = b'{"items":[' + content + b'],"nextCursor":"2"}'
    last = b'{"items":[]}'
    responses = (http(200, content), http(201, content), http(200, content), http(200, first), http(200, last))
    async with HostileServer(*responses) as server:
        service = open_service(server, paging=CursorPaging())
        appointments = [
            await service.get("123"),
            await service.create(draft),
            await service.update("123", title="Other"),
            *await service.preview().collect(),
        ]
    assert len(appointments) == 4
    for appointment in appointments:
        assert appointment is not None
        assert appointment.extra == {"number": [value]}
        assert type(appointment.extra["number"][0]) is type(value)


@pytest.mark.row("H9")
async def test_big_integer_in_a_problem_is_kept_exactly() -> None:
    async with HostileServer(http(400, b'{"balance":%d}' % BIG)) as server:
        with pytest.raises(InvalidRequestError) as caught:
            await open_service(server).get("123")
    assert caught.value.problem == {"balance": BIG}


@pytest.mark.row("H9")
def test_big_integer_is_printed_as_json(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    appointment = GUIDE.structure(body(number=b"%d" % BIG), Appointment)
    Printer(DisplayOptions(json=True), ()).add(appointment.to_dict())
    assert json.loads(capfdbinary.readouterr().out)["extra"] == {"number": BIG}


async def test_draft_that_is_nested_deeper_than_a_response_may_be_is_rejected_before_any_request(
    draft: NewAppointment,
) -> None:
    async with HostileServer(http(201, b'{"appointmentId":"1"}')) as server:
        deep = NewAppointment(
            title="t", start_time=draft.start_time, end_time=draft.end_time, extra={"x": orjson.loads(nested(65))}
        )
        with pytest.raises(ValueError, match="extra must not be nested deeper than 64 levels"):
            await open_service(server).create(deep)
        assert server.requests == []


@pytest.mark.row("H7")
async def test_byte_order_mark_before_a_token_is_ignored() -> None:
    token = http(200, (CASES / "json" / "41-token-response-bom.json").read_bytes())
    async with HostileServer(token, http(200, orjson.dumps(FIELDS))) as server:
        await open_service(server, auth=ClientCredentials("id", "secret")).get("123")
        assert server.requests[1].headers["authorization"] == "Bearer t"


@pytest.mark.row("H7")
async def test_byte_order_mark_before_a_problem_is_ignored() -> None:
    async with HostileServer(http(400, BOM + b'{"errors":{"title":["too long"]}}')) as server:
        with pytest.raises(InvalidRequestError) as caught:
            await open_service(server).get("123")
    assert caught.value.errors == {"title": ("too long",)}


@pytest.mark.row("H7")
async def test_byte_order_mark_before_a_preview_is_ignored() -> None:
    page = (CASES / "json" / "41-preview-bom.json").read_bytes()
    async with HostileServer(http(200, page)) as server:
        (item,) = await open_service(server).preview().collect()
    assert (item.appointment_id, item.title, item.start_time.hour, item.end_time.hour) == ("1", "t1", 10, 11)


@pytest.mark.row("H8")
@pytest.mark.parametrize("status", [204, 205])
async def test_get_without_content_is_not_found_with_any_content_encoding(status: int) -> None:
    async with HostileServer(http(status, Content_Encoding="gzip")) as server:
        with pytest.raises(NotFoundError):
            await open_service(server).get("123")
        with pytest.raises(NotFoundError):
            await open_service(server).update("123", title="Other", read_first=True)


async def test_preview_without_content_is_an_empty_page() -> None:
    async with HostileServer(http(204, Content_Encoding="gzip")) as server:
        (page,) = [page async for page in open_service(server).preview().pages()]
    assert (page.items, page.continuation_token) == ([], None)


@pytest.mark.parametrize(
    "response",
    [http(204, Link="</acme/appointment/preview?p=2>; rel=next"), http(204, X_Total_Count="4")],
    ids=["link", "total"],
)
async def test_preview_without_content_is_an_error_if_headers_say_that_there_are_items(response: bytes) -> None:
    async with HostileServer(response) as server:
        with pytest.raises(DecodingError):
            await open_service(server).preview().collect()


async def test_page_without_content_after_the_first_is_the_last() -> None:
    first = http(200, b'{"items":[' + orjson.dumps(FIELDS) + b'],"nextCursor":"2"}')
    async with HostileServer(first, http(204, X_Total_Count="1")) as server:
        assert len(await open_service(server, paging=CursorPaging()).preview().collect()) == 1


async def test_preview_without_a_body_is_an_error_that_names_the_rule() -> None:
    async with HostileServer(http(200)) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server).preview().collect()
    assert caught.value.problems == ("$: no body; only [] and 204 say that there are no items",)


def last_sent_body(server: HostileServer) -> Any:
    return json.loads(server.requests[-1].body)


async def test_update_that_reads_first_sends_back_all_that_it_read() -> None:
    read: dict[str, Any] = {
        **FIELDS,
        "startTime": "2024-01-15T10:00:00.1234567Z",
        "endTime": "2024-01-15T12:00:00.0000001+01:00",
        "room": {"floor": 3},
        "number": BIG,
        "@odata.etag": 'W/"1"',
        "none": None,
    }
    async with HostileServer(http(200, json.dumps(read).encode()), http(204)) as server:
        await open_service(server).update("123", title="Other", extra={"none": 1}, read_first=True)
        assert last_sent_body(server) == {**read, "title": "Other", "none": 1}


REFERENCE_FIELDS: dict[str, Any] = {
    "appointmentId": "123",
    "subject": "Visit",
    "body": {"content": "x", "contentType": "Html", "preview": "y"},
    "startTime": "2024-01-15T10:00:00.1234567",
    "endTime": "2024-01-15T11:00:00.1234567+01:00",
    "timeZone": "W. Europe Standard Time",
    "showAs": "Busy",
}


async def update_reference(**changes: Any) -> Any:
    async with HostileServer(http(200, orjson.dumps(REFERENCE_FIELDS)), http(204)) as server:
        service = open_service(server, user=USER, wire_format=REFERENCE)
        await service.update("123", read_first=True, **changes)
        return last_sent_body(server)


async def test_update_that_reads_first_merges_the_nested_body_of_the_reference() -> None:
    sent = await update_reference(description="new")
    user = {"adId": "user-1", "domainId": "directory-1"}
    nested_body = {"content": "new", "contentType": "Text", "preview": "y"}
    assert sent == REFERENCE_FIELDS | user | {"body": nested_body}


async def test_date_time_without_offset_does_not_move_when_an_update_sets_the_time_zone() -> None:
    sent = await update_reference(time_zone="Asia/Tokyo")
    assert sent["startTime"] == "2024-01-15T09:00:00.123456Z"
    assert sent["endTime"] == REFERENCE_FIELDS["endTime"]


def page_of(*items: Any) -> bytes:
    return http(200, orjson.dumps(list(items)))


def invalid(appointment_id: Any = "7") -> dict[str, Any]:
    return FIELDS | {"appointmentId": appointment_id, "title": None}


async def test_invalid_items_of_a_preview_are_skipped_and_reported_on_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with HostileServer(page_of(invalid(), FIELDS, 5, invalid("\0"))) as server:
        service = open_service(server)
        (page,) = [page async for page in service.preview(on_invalid="skip").pages()]
        with pytest.raises(DecodingError):
            await service.preview().collect()
    assert [item.appointment_id for item in page.items] == ["123"]
    assert page.skipped == 3
    assert page.problems == (
        "$[0].title: expected a string, not null (appointmentId 7)",
        "$[2]: expected an object, not an integer",
        "$[3].title: expected a string, not null",
    )
    (line,) = [record for record in caplog.records if record.name == "connector_async"]
    assert line.getMessage() == "preview for tenant acme: 3 invalid items skipped (request unknown)"
    assert isinstance(line.args, dict)
    assert set(line.args) == {"operation", "tenant", "count", "request_id"}


async def test_all_skipped_items_are_counted_and_the_first_twenty_faults_reported() -> None:
    async with HostileServer(page_of(*[invalid()] * 50, FIELDS)) as server:
        (page,) = [page async for page in open_service(server).preview(on_invalid="skip").pages()]
    assert (len(page.items), page.skipped, len(page.problems)) == (1, 50, 20)


async def test_leap_second_is_not_skipped_after_twenty_faults() -> None:
    leap = FIELDS | {"startTime": "2016-12-31T23:59:60Z"}
    async with HostileServer(page_of(*[invalid()] * 50, leap)) as server:
        assert len(await open_service(server).preview(on_invalid="skip").collect()) == 1


@pytest.mark.row("H9")
async def test_deeply_nested_item_that_is_skipped_does_not_disturb_the_next_page() -> None:
    first = http(200, b'{"items":[' + nested(900) + b'],"nextCursor":"2"}')
    last = http(200, b'{"items":[' + orjson.dumps(FIELDS) + b"]}")
    async with HostileServer(first, last) as server:
        assert len(await open_service(server, paging=CursorPaging()).preview(on_invalid="skip").collect()) == 1


@pytest.mark.row("H1")
@pytest.mark.parametrize("item", [b"1", b"{}", NAIVE], ids=["1", "{}", "naive"])
@pytest.mark.usefixtures("small_heap")
def test_skipping_invalid_items_costs_bounded_time(item: bytes) -> None:
    items = orjson.loads(array(item, MEGABYTE))
    start = time.thread_time()
    valid = GUIDE.structure_items(items, Appointment, skip_invalid=True)
    assert time.thread_time() - start < 1.0
    assert valid.skipped == len(items)


async def test_windows_report_skipped_items(draft: NewAppointment) -> None:
    good = {
        "appointmentId": "1",
        "subject": "t",
        "startTime": "2024-01-15T10:00:00Z",
        "endTime": "2024-01-15T11:00:00Z",
    }
    async with HostileServer(page_of(5, good)) as server:
        service = open_service(server, user=USER, wire_format=REFERENCE)
        window = (draft.end_time - draft.start_time) / 2
        pager = service.preview(draft.start_time, draft.end_time, window=window, on_invalid="skip")
        pages = [page async for page in pager.pages()]
    assert [(page.skipped, page.problems) for page in pages] == [(1, ("$[0]: expected an object, not an integer",))] * 2


@pytest.mark.parametrize("value", ["ignore", "", None, True])
async def test_invalid_value_of_on_invalid_is_rejected(value: Any) -> None:
    async with HostileServer(page_of()) as server:
        service: AppointmentService = open_service(server)
        with pytest.raises(ValueError, match="on_invalid must be 'raise' or 'skip'"):
            service.preview(on_invalid=value)
        assert server.requests == []
