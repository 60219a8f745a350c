"""What a failed call of a bulk says: whether it may have happened, as what, and nothing that its frames held."""

import asyncio
import gc
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    AppointmentUpdate,
    AuthenticationError,
    Bulk,
    BulkReport,
    ClientCredentials,
    ConnectorError,
    DecodingError,
    NewAppointment,
    OutcomeUnknownError,
    RetryPolicy,
    Status,
    TransportError,
    WireFormat,
    bulk,
    read_inputs,
)
from tests.support.hostile import HostileServer, drop, hang, http
from tests.support.services import open_service

LOST = OutcomeUnknownError("the create was sent, and its outcome is unknown")

# The body of a create, and the id that can be kept of it.
UNDECODABLE: list[tuple[bytes, str | None]] = [
    (b'{"appointmentId":"n-1","title":3}', "n-1"),
    (b'{"appointmentId":12,"startTime":"soon"}', "12"),
    (b'{"isSuccess":true,"data":{"appointmentId":"n-2"}}', "n-2"),
    (b'{"appointmentId":"a\\nb","title":3}', None),
    (b'{"appointmentId":null}', None),
    (b'{"appointmentId":true}', None),
    (b'{"appointmentId":"' + b"x" * 10_000 + b'","title":3}', None),
    (b'["n-3"]', None),
    (b"", None),
    (b"<html>created</html>", None),
]


@pytest.mark.row("H15")
async def test_creates_whose_responses_cannot_be_decoded_are_unknown_and_keep_their_ids(
    draft: NewAppointment, tmp_path: Path
) -> None:
    drafts = [draft] * len(UNDECODABLE)
    async with HostileServer(*[http(201, body) for body, _ in UNDECODABLE]) as server:
        run = open_service(server).create_many(drafts, concurrency=1, ordered=True)
        report = await BulkReport().collect(run)
        assert len(server.requests) == len(drafts)
    assert report.counts == {Status.UNKNOWN: len(drafts)}
    assert report.inputs() == []
    errors = [outcome.error for outcome in report.unfinished]
    ids = [error.appointment_id for error in errors if isinstance(error, DecodingError)]
    assert ids == [appointment_id for _, appointment_id in UNDECODABLE]
    path = tmp_path / "unfinished.jsonl"
    report.write_jsonl(path)
    assert list(read_inputs(path)) == []
    assert [orjson.loads(line)["appointment_id"] for line in path.read_bytes().splitlines()] == ids


@pytest.mark.row("H15")
async def test_a_create_whose_response_is_too_long_is_unknown(draft: NewAppointment) -> None:
    async with HostileServer(http(201, b'{"appointmentId":"n-1","title":"' + b"x" * 5_000 + b'"}')) as server:
        report = await BulkReport().collect(open_service(server, max_body_size=1_000).create_many([draft]))
    assert (report.counts, report.inputs()) == ({Status.UNKNOWN: 1}, [])


@pytest.mark.row("H15")
async def test_whatever_goes_wrong_while_a_create_is_decoded_it_has_happened(
    draft: NewAppointment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Appointment:
        raise RecursionError

    monkeypatch.setattr(WireFormat, "structure_created", broken)
    async with HostileServer(http(201, b'{"appointmentId":"n-1"}')) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server).create(draft)
    assert (caught.value.sent, caught.value.appointment_id) == (True, "n-1")
    assert caught.value.problems == ("$: RecursionError while decoding",)


async def fail_in_a_group(error: Exception) -> None:
    async def fail() -> None:
        raise error

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


async def fail_in_a_group_of_a_group(error: Exception) -> None:
    raise ExceptionGroup("outer", [KeyError(), ExceptionGroup("inner", [ValueError(), error])])


async def fail_with_it_as_cause(error: Exception) -> None:
    raise ValueError("wrapped") from error


async def fail_while_handling_it(error: Exception) -> None:
    try:
        raise error
    except ConnectorError:
        raise ValueError("another one")  # noqa: B904 - its context is what counts


async def fail_and_hide_it(error: Exception) -> None:
    try:
        raise error
    except ConnectorError:
        raise ValueError("what an application says of it") from None


@pytest.mark.row("H15")
@pytest.mark.parametrize(
    ("fail", "status"),
    [
        (fail_in_a_group, Status.UNKNOWN),
        (fail_in_a_group_of_a_group, Status.UNKNOWN),
        (fail_with_it_as_cause, Status.UNKNOWN),
        (fail_while_handling_it, Status.UNKNOWN),
        (fail_and_hide_it, Status.UNKNOWN),
    ],
)
@pytest.mark.parametrize("error", [LOST, DecodingError("the body is not JSON", appointment_id="n-1")])
async def test_an_unknown_outcome_within_another_error_is_unknown(
    fail: Callable[[Exception], Awaitable[None]], status: Status, error: Exception, tmp_path: Path
) -> None:
    report = await BulkReport().collect(bulk(fail, [error], concurrency=1))
    assert report.counts == {status: 1}
    report.write_jsonl(tmp_path / "unfinished.jsonl", encode=lambda _: None)
    line = orjson.loads((tmp_path / "unfinished.jsonl").read_bytes())
    has_id = isinstance(error, DecodingError) and status is Status.UNKNOWN
    assert line["appointment_id"] == ("n-1" if has_id else None)


@pytest.mark.row("H15")
@pytest.mark.parametrize("how", ["timeout", "wait_for"])
async def test_a_create_that_the_function_itself_cuts_off_is_unknown(draft: NewAppointment, how: str) -> None:
    async with HostileServer(hang) as server:
        service = open_service(server)

        async def create(new: NewAppointment) -> Appointment:
            if how == "wait_for":
                return await asyncio.wait_for(service.create(new), 0.03)
            async with asyncio.timeout(0.03):
                return await service.create(new)

        report = await BulkReport().collect(bulk(create, [draft], concurrency=1))
        assert len(server.requests) == 1
    assert report.counts == {Status.UNKNOWN: 1}
    assert isinstance(report.unfinished[0].error, TimeoutError)


async def test_a_read_that_cannot_be_decoded_has_failed_and_may_be_repeated(draft: NewAppointment) -> None:
    async with HostileServer(http(200, b'{"appointmentId":"1"}')) as server:
        service = open_service(server)
        report = await BulkReport().collect(service.get_many(["1"]))
        assert (report.counts, report.inputs()) == ({Status.FAILED: 1}, ["1"])

        async def count(_: int) -> int:
            return len(await service.preview().collect())

        assert (await BulkReport().collect(bulk(count, [1], concurrency=1))).counts == {Status.FAILED: 1}


async def test_an_update_whose_response_cannot_be_decoded_has_happened_and_is_not_repeated() -> None:
    update = AppointmentUpdate(appointment_id="1", title="Other")
    async with HostileServer(http(200, b'{"title":3}')) as server:
        report = await BulkReport().collect(open_service(server).update_many([update]))
    assert (report.counts, report.inputs()) == ({Status.UNKNOWN: 1}, [])


async def test_a_lost_response_to_what_is_idempotent_is_a_failure_that_may_be_repeated() -> None:
    async with HostileServer(drop) as server:
        service = open_service(server, retry=RetryPolicy.none())
        runs: list[Bulk[Any, Any]] = [
            service.get_many(["1"]),
            service.delete_many(["1"]),
            service.update_many([AppointmentUpdate(appointment_id="1", title="Other")]),
        ]
        for run in runs:
            assert (await BulkReport().collect(run)).counts == {Status.FAILED: 1}


@pytest.mark.row("H15")
@pytest.mark.parametrize(
    ("method", "answer", "status"),
    [
        ("POST", drop, Status.UNKNOWN),
        ("POST", http(502), Status.UNKNOWN),
        ("POST", http(400), Status.FAILED),
        ("PATCH", drop, Status.UNKNOWN),
        ("GET", drop, Status.FAILED),
        ("PUT", drop, Status.FAILED),
        ("DELETE", http(502), Status.FAILED),
    ],
)
async def test_a_request_of_the_session_itself_is_judged_by_its_method(
    method: str, answer: Any, status: Status
) -> None:
    async with HostileServer(answer) as server:
        session = open_service(server).session

        async def send(name: str) -> object:
            return await session.request(method, (name,))

        outcomes = [outcome async for outcome in bulk(send, ["rooms"], concurrency=1)]
    assert [outcome.status for outcome in outcomes] == [status]


async def test_a_create_that_never_left_for_want_of_a_token_has_failed(draft: NewAppointment) -> None:
    async with HostileServer(http(200, b"no token")) as server:
        service = open_service(server, auth=ClientCredentials("id", "secret"), retry=RetryPolicy.none())
        report = await BulkReport().collect(service.create_many([draft]))
    assert report.counts == {Status.FAILED: 1}
    assert isinstance(report.unfinished[0].error, DecodingError)


async def test_rejected_credentials_of_one_tenant_keep_no_other_from_its_calls() -> None:
    async def call(tenant: str) -> str:
        if tenant == "acme":
            raise AuthenticationError("refused", status=401)
        return tenant

    run = bulk(call, ["acme", "globex", "acme", "initech"], concurrency=1)
    statuses = Counter([outcome.status async for outcome in run])
    assert statuses == {Status.DONE: 2, Status.FAILED: 2}


class Large:
    """Stands for the data that a frame holds."""


async def test_the_error_of_an_outcome_keeps_no_frame_and_says_where_it_was_raised() -> None:
    held: list[weakref.ref[Large]] = []

    def fail() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise KeyError("inner")

    async def wrap(_: int) -> None:
        large = Large()
        held.append(weakref.ref(large))
        try:
            fail()
        except KeyError as error:
            try:
                raise TransportError("dropped") from error
            except TransportError:
                raise ExceptionGroup("outer", [ValueError("member")]) from None

    (outcome,) = [outcome async for outcome in bulk(wrap, [1], concurrency=1)]
    assert [reference() for reference in held] == [None, None]
    error = outcome.error
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error.__context__, TransportError)
    assert isinstance(error.__context__.__cause__, KeyError)
    assert error.__traceback__ is error.__context__.__traceback__ is error.__context__.__cause__.__traceback__ is None
    (note,) = error.__notes__
    assert "wrap (" in note
    assert f"{__file__}:" in note
    (note,) = error.__context__.__cause__.__notes__
    assert "fail (" in note


async def test_an_error_that_is_raised_for_many_inputs_is_noted_once() -> None:
    one = ValueError("always the same")

    async def fail(_: int) -> None:
        raise one

    outcomes = [outcome async for outcome in bulk(fail, range(10), concurrency=2)]
    assert len(outcomes) == 10
    assert len(one.__notes__) == 1


async def test_a_failed_outcome_takes_little_memory(draft: NewAppointment) -> None:
    async with HostileServer(http(400, b'{"title":"Bad Request"}')) as server:
        service = open_service(server)
        tracemalloc.start()
        try:
            report = await BulkReport().collect(service.create_many([draft] * 300))
            server.requests.clear()
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert report.counts == {Status.FAILED: 300}
    assert size / 300 < 5_000  # with its traceback each took 16,000


async def test_an_error_says_what_was_called(draft: NewAppointment) -> None:
    calls: dict[str, Callable[[AppointmentService], Awaitable[object]]] = {
        "get": lambda service: service.get("1"),
        "create": lambda service: service.create(draft),
        "update": lambda service: service.update("1", title="Other"),
        "delete": lambda service: service.delete("1"),
        "preview": lambda service: service.preview().collect(),
        "PATCH": lambda service: service.session.request("PATCH", ("rooms",)),
    }
    async with HostileServer(http(400)) as server:
        for operation, call in calls.items():
            with pytest.raises(ConnectorError) as caught:
                await call(open_service(server))
            assert caught.value.operation == operation
