"""Failed calls of a bulk: whether they may have happened, under which id, and what their errors keep in memory."""

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
from tests.support.hostile import Expiring, HostileServer, drop, http
from tests.support.services import open_service

LOST = OutcomeUnknownError("the create was sent, and its outcome is unknown")

# The body of a response to a create, and the id that can be read from it.
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
async def test_create_whose_response_is_too_long_is_unknown(draft: NewAppointment) -> None:
    async with HostileServer(http(201, b'{"appointmentId":"n-1","title":"' + b"x" * 5_000 + b'"}')) as server:
        report = await BulkReport().collect(open_service(server, max_body_size=1_000).create_many([draft]))
    assert (report.counts, report.inputs()) == ({Status.UNKNOWN: 1}, [])


@pytest.mark.row("H15")
async def test_any_error_while_decoding_a_create_is_a_decoding_error_with_its_id(
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


async def fail_in_a_nested_group(error: Exception) -> None:
    raise ExceptionGroup("outer", [KeyError(), ExceptionGroup("inner", [ValueError(), error])])


async def fail_with_cause(error: Exception) -> None:
    raise ValueError("wrapped") from error


async def fail_in_handler(error: Exception) -> None:
    try:
        raise error
    except ConnectorError:
        raise ValueError("wrapped")  # noqa: B904 - the context is what is tested


async def fail_with_hidden_context(error: Exception) -> None:
    try:
        raise error
    except ConnectorError:
        raise ValueError("wrapped") from None


@pytest.mark.row("H15")
@pytest.mark.parametrize(
    "fail", [fail_in_a_group, fail_in_a_nested_group, fail_with_cause, fail_in_handler, fail_with_hidden_context]
)
async def test_unknown_outcome_within_another_error_is_unknown(
    fail: Callable[[Exception], Awaitable[None]], tmp_path: Path
) -> None:
    errors = [LOST, DecodingError("the body is not JSON", appointment_id="n-1")]
    report = await BulkReport().collect(bulk(fail, errors, concurrency=1))
    assert report.counts == {Status.UNKNOWN: 2}
    report.write_jsonl(tmp_path / "unfinished.jsonl", encode=lambda _: None)
    lines = (tmp_path / "unfinished.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["appointment_id"] for line in lines] == [None, "n-1"]


@pytest.mark.row("H15")
@pytest.mark.parametrize("how", ["timeout", "wait_for"])
async def test_create_cut_off_by_the_function_itself_is_unknown(draft: NewAppointment, how: str) -> None:
    expiring = Expiring()
    async with HostileServer(expiring) as server:
        service = open_service(server)

        async def create(new: NewAppointment) -> Appointment:
            if how == "wait_for":
                return await asyncio.wait_for(service.create(new), 0.25)
            async with expiring.limit():
                return await service.create(new)

        report = await BulkReport().collect(bulk(create, [draft], concurrency=1))
        assert len(server.requests) == 1
    assert report.counts == {Status.UNKNOWN: 1}
    assert isinstance(report.unfinished[0].error, TimeoutError)


async def test_read_that_cannot_be_decoded_has_failed_and_may_be_repeated(draft: NewAppointment) -> None:
    async with HostileServer(http(200, b'{"appointmentId":"1"}')) as server:
        service = open_service(server)
        report = await BulkReport().collect(service.get_many(["1"]))
        assert (report.counts, report.inputs()) == ({Status.FAILED: 1}, ["1"])

        async def count(_: int) -> int:
            return len(await service.preview().collect())

        assert (await BulkReport().collect(bulk(count, [1], concurrency=1))).counts == {Status.FAILED: 1}


async def test_update_whose_response_cannot_be_decoded_is_unknown_and_not_repeated() -> None:
    update = AppointmentUpdate(appointment_id="1", title="Other")
    async with HostileServer(http(200, b'{"title":3}')) as server:
        report = await BulkReport().collect(open_service(server).update_many([update]))
    assert (report.counts, report.inputs()) == ({Status.UNKNOWN: 1}, [])


async def test_lost_response_to_an_idempotent_operation_has_failed() -> None:
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
    ("method", "response", "status"),
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
async def test_status_of_a_session_request_depends_on_its_method(method: str, response: Any, status: Status) -> None:
    async with HostileServer(response) as server:
        session = open_service(server).session

        async def send(name: str) -> object:
            return await session.request(method, (name,))

        outcomes = [outcome async for outcome in bulk(send, ["rooms"], concurrency=1)]
    assert [outcome.status for outcome in outcomes] == [status]


async def test_create_that_was_never_sent_for_lack_of_a_token_has_failed(draft: NewAppointment) -> None:
    async with HostileServer(http(200, b"no token")) as server:
        service = open_service(server, auth=ClientCredentials("id", "secret"), retry=RetryPolicy.none())
        report = await BulkReport().collect(service.create_many([draft]))
    assert report.counts == {Status.FAILED: 1}
    assert isinstance(report.unfinished[0].error, DecodingError)


async def test_rejected_credentials_of_one_tenant_do_not_end_a_bulk_of_several() -> None:
    async def call(tenant: str) -> str:
        if tenant == "acme":
            raise AuthenticationError("rejected", status=401)
        return tenant

    run = bulk(call, ["acme", "globex", "acme", "initech"], concurrency=1)
    statuses = Counter([outcome.status async for outcome in run])
    assert statuses == {Status.DONE: 2, Status.FAILED: 2}


class Large:
    """Data in the local variables of a frame."""


async def test_error_of_an_outcome_has_no_traceback_but_a_note_of_where_it_was_raised() -> None:
    references: list[weakref.ref[Large]] = []

    def fail() -> None:
        large = Large()
        references.append(weakref.ref(large))
        raise KeyError("inner")

    async def wrap(_: int) -> None:
        large = Large()
        references.append(weakref.ref(large))
        try:
            fail()
        except KeyError as error:
            try:
                raise TransportError("dropped") from error
            except TransportError:
                raise ExceptionGroup("outer", [ValueError("member")]) from None

    (outcome,) = [outcome async for outcome in bulk(wrap, [1], concurrency=1)]
    assert [reference() for reference in references] == [None, None]
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


async def test_error_raised_for_many_inputs_gets_one_note() -> None:
    shared = ValueError("always the same")

    async def fail(_: int) -> None:
        raise shared

    outcomes = [outcome async for outcome in bulk(fail, range(10), concurrency=2)]
    assert len(outcomes) == 10
    assert len(shared.__notes__) == 1


async def test_failed_outcome_takes_little_memory(draft: NewAppointment) -> None:
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
    assert size / 300 < 5_000  # 16,000 with tracebacks


async def test_error_names_its_operation(draft: NewAppointment) -> None:
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
