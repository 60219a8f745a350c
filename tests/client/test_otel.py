"""OpenTelemetry: the spans and metrics of calls and requests, and that no id and no secret is in them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes.url_attributes import URL_TEMPLATE
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import (
    HTTP_REQUEST_METHOD,
    HTTP_REQUEST_METHOD_ORIGINAL,
    HTTP_REQUEST_RESEND_COUNT,
    HTTP_RESPONSE_STATUS_CODE,
)
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from opentelemetry.semconv.metrics.http_metrics import HTTP_CLIENT_REQUEST_DURATION
from opentelemetry.trace import SpanKind, StatusCode
from yarl import URL

from connector_async import (
    AppointmentService,
    BulkReport,
    CallNext,
    CallRecord,
    ClientCredentials,
    ConnectFailedError,
    NewAppointment,
    NotFoundError,
    OutgoingRequest,
    RateLimit,
    Response,
    RetryPolicy,
    last_call,
)
from connector_async.otel import OpenTelemetry
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DropBefore, Sandbox, StatusFault
from connector_async.sync import Calendar
from tests.support.hostile import HostileServer, hang, http
from tests.support.services import FOUND, open_service, open_session
from tests.support.syncing import Syncing, record
from tests.support.virtual_time import LoopClock

TENANT, TITLE = "tenant-4711", "Jane Doe, oncology"
APPOINTMENT, TOKEN = "/{tenantId}/appointment", "/{tenantId}/authentication/token"


class Recorded:
    """What a telemetry has recorded."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.telemetry = OpenTelemetry(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans in the order of their starts."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def points(self, name: str) -> list[dict[str, Any]]:
        """Return the attributes of each data point of a metric, with its `sum` and its `count`."""
        return [
            {**(point.attributes or {}), **_value(point)}
            for metric_name, point in self._points()
            if metric_name == name
        ]

    def _points(self) -> Iterator[tuple[str, Any]]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else []:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        yield metric.name, point

    def everything(self) -> str:
        """Return all that an exporter would get, as one string."""
        return "\n".join(
            [*(span.to_json() for span in self.spans), *(f"{name} {point}" for name, point in self._points())]
        )


def _value(point: HistogramDataPoint | NumberDataPoint) -> dict[str, float]:
    if isinstance(point, HistogramDataPoint):
        return {"sum": point.sum, "count": point.count}
    return {"sum": point.value}


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
async def service(sandbox: Sandbox, recorded: Recorded) -> AppointmentService:
    service = open_service(
        sandbox.base_url,
        tenant_id=TENANT,
        auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
        telemetry=recorded.telemetry,
    )
    await service.session.fetch_token()
    recorded._exporter.clear()
    return service


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# Spans


async def test_call_has_a_span_with_a_child_for_its_request(
    service: AppointmentService, recorded: Recorded, sandbox: Sandbox, draft: NewAppointment
) -> None:
    await service.create(draft)
    call, request = recorded.spans
    assert (call.name, call.kind, call.parent) == ("AppointmentService.create", SpanKind.INTERNAL, None)
    assert attributes(call) == {"connector_async.operation": "create", "connector_async.attempts": 1}
    assert (request.name, request.kind) == (f"POST {APPOINTMENT}", SpanKind.CLIENT)
    assert request.parent is not None
    assert request.parent.span_id == call.context.span_id
    assert attributes(request) == {
        HTTP_REQUEST_METHOD: "POST",
        SERVER_ADDRESS: "127.0.0.1",
        SERVER_PORT: URL(sandbox.base_url).port,
        URL_TEMPLATE: APPOINTMENT,
        HTTP_RESPONSE_STATUS_CODE: 200,
    }
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}


async def test_each_attempt_has_a_span_that_counts_resends(
    service: AppointmentService, recorded: Recorded, sandbox: Sandbox
) -> None:
    sandbox.faults.script(StatusFault(503), DropBefore(), operation="preview")
    assert [_ async for _ in service.preview()] == []
    call, *requests = recorded.spans
    assert attributes(call)["connector_async.attempts"] == 3
    assert [attributes(span).get(HTTP_REQUEST_RESEND_COUNT) for span in requests] == [None, 1, 2]
    assert [attributes(span).get(HTTP_RESPONSE_STATUS_CODE) for span in requests] == [503, None, 200]
    assert [attributes(span).get(ERROR_TYPE) for span in requests] == [
        *("503", "connector_async.exceptions.TransportError", None),
    ]
    codes = [span.status.status_code for span in (call, *requests)]
    assert codes == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]


async def test_replay_after_a_refused_token_has_spans_of_its_own(
    service: AppointmentService, recorded: Recorded, sandbox: Sandbox
) -> None:
    sandbox.revoke_tokens(TENANT)
    assert [_ async for _ in service.preview()] == []
    preview = f"GET {APPOINTMENT}/preview"
    assert recorded.names == ["AppointmentService.preview", preview, f"POST {TOKEN}", preview]
    call, refused, token, replay = recorded.spans
    assert attributes(call)["connector_async.attempts"] == 1
    assert (attributes(refused)[ERROR_TYPE], attributes(replay)[HTTP_REQUEST_RESEND_COUNT]) == ("401", 1)
    assert HTTP_REQUEST_RESEND_COUNT not in attributes(token)
    assert len({span.context.trace_id for span in recorded.spans}) == 1


async def test_reading_before_an_update_is_not_a_resend(service: AppointmentService, recorded: Recorded) -> None:
    created = await service.create(_draft())
    recorded._exporter.clear()
    await service.update(created.appointment_id, title=TITLE, read_first=True)
    assert recorded.names == ["AppointmentService.update", f"GET {APPOINTMENT}", f"PUT {APPOINTMENT}"]
    assert not any(HTTP_REQUEST_RESEND_COUNT in attributes(span) for span in recorded.spans)


async def test_failed_call_has_the_class_of_its_error_alone(service: AppointmentService, recorded: Recorded) -> None:
    with pytest.raises(NotFoundError):
        await service.get("123")
    call, request = recorded.spans
    assert attributes(call)[ERROR_TYPE] == "connector_async.exceptions.NotFoundError"
    assert attributes(request)[ERROR_TYPE] == "404"
    for span in recorded.spans:
        assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


async def test_cancelled_call_ends_its_spans(recorded: Recorded) -> None:
    async with HostileServer(hang) as server:
        call = asyncio.ensure_future(open_service(server, telemetry=recorded.telemetry).get("123"))
        while not server.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert recorded.names == ["AppointmentService.get", f"GET {APPOINTMENT}"]
    assert {attributes(span)[ERROR_TYPE] for span in recorded.spans} == {"asyncio.exceptions.CancelledError"}


async def test_context_of_the_request_is_sent_along(recorded: Recorded) -> None:
    async with HostileServer(http(503), FOUND) as server:
        await open_service(server, telemetry=recorded.telemetry).get("123")
        sent = [request.headers["traceparent"] for request in server.requests]
    _, *requests = recorded.spans
    assert [header[:-3] for header in sent] == [
        f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}" for span in requests
    ]
    assert len(set(sent)) == 2


async def test_context_replaces_the_one_of_a_header(recorded: Recorded) -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server, telemetry=recorded.telemetry) as session:
        await session.request("GET", ("appointment",), headers={"Traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
        (span,) = recorded.spans
        assert f"{span.context.span_id:016x}" in server.requests[0].headers["traceparent"]


async def test_span_of_the_application_is_the_parent(service: AppointmentService, recorded: Recorded) -> None:
    with trace.get_tracer("app", tracer_provider=recorded.tracer_provider).start_as_current_span("app") as parent:
        assert [_ async for _ in service.preview()] == []
        call = recorded.spans[0]
        assert call.parent is not None
        assert call.parent.span_id == parent.get_span_context().span_id
        assert trace.get_current_span() is parent


async def test_request_of_a_session_has_a_span_without_template(recorded: Recorded) -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server, telemetry=recorded.telemetry) as session:
        await session.request("GET", ("reports", "9"))
        await session.request("PROPFIND", ("reports", "9"))
    assert recorded.names == ["GET", "HTTP"]
    methods = [HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL]
    assert [attributes(recorded.spans[1])[name] for name in methods] == ["_OTHER", "PROPFIND"]
    assert not any(URL_TEMPLATE in attributes(span) for span in recorded.spans)


async def test_requests_after_a_call_are_not_its_resends(recorded: Recorded) -> None:
    async with HostileServer(FOUND) as server:
        service = open_service(server, telemetry=recorded.telemetry)
        await service.get("123")
        for _ in range(2):
            await service.session.request("GET", ("appointment",))
    assert not any(HTTP_REQUEST_RESEND_COUNT in attributes(span) for span in recorded.spans)


async def test_middleware_is_outside_of_the_span_and_a_response_of_its_own_has_none(recorded: Recorded) -> None:
    async def from_cache(_: OutgoingRequest, __: object) -> Response:
        return Response(status=200, headers={}, body=FOUND.partition(b"\r\n\r\n")[2])

    async with HostileServer(FOUND) as server:
        await open_service(server, telemetry=recorded.telemetry, middlewares=[from_cache]).get("123")
    assert recorded.names == ["AppointmentService.get"]


@pytest.mark.parametrize("options", [{}, {"record_tenant": True}])
async def test_tenant_is_recorded_on_request_only(sandbox: Sandbox, options: dict[str, bool]) -> None:
    recorded = Recorded(**options)
    auth = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    service = open_service(sandbox.base_url, tenant_id=TENANT, auth=auth, telemetry=recorded.telemetry)
    assert [_ async for _ in service.preview()] == []
    assert len(recorded.spans) == 3
    tenants = [attributes(span).get("connector_async.tenant.id") for span in recorded.spans]
    assert tenants == [TENANT if options else None] * 3
    for metric in ("http.client.request.duration", "connector_async.call.duration"):
        assert TENANT not in str(recorded.points(metric))


# Metrics


async def test_requests_and_calls_are_measured(
    service: AppointmentService, recorded: Recorded, sandbox: Sandbox, draft: NewAppointment
) -> None:
    sandbox.faults.script(StatusFault(503, retry_after=1), operation="create")
    await service.create(draft)
    with pytest.raises(NotFoundError):
        await service.get("123")
    server = {SERVER_ADDRESS: "127.0.0.1", SERVER_PORT: URL(sandbox.base_url).port}
    posted = {HTTP_REQUEST_METHOD: "POST", URL_TEMPLATE: APPOINTMENT, **server}
    durations = [
        {name: value for name, value in point.items() if name != "sum"}
        for point in recorded.points(HTTP_CLIENT_REQUEST_DURATION)
        if point[URL_TEMPLATE] == APPOINTMENT
    ]
    assert durations == [
        {**posted, HTTP_RESPONSE_STATUS_CODE: 503, ERROR_TYPE: "503", "count": 1},
        {**posted, HTTP_RESPONSE_STATUS_CODE: 200, "count": 1},
        {**posted, HTTP_REQUEST_METHOD: "GET", HTTP_RESPONSE_STATUS_CODE: 404, ERROR_TYPE: "404", "count": 1},
    ]
    not_found = "connector_async.exceptions.NotFoundError"
    assert recorded.points("connector_async.call.attempts") == [
        {"connector_async.operation": "create", "sum": 2, "count": 1},
        {"connector_async.operation": "get", ERROR_TYPE: not_found, "sum": 1, "count": 1},
    ]
    create, get = recorded.points("connector_async.call.duration")
    assert create["sum"] == pytest.approx(1.1, abs=0.5)  # it waited for the Retry-After by the clock of the test
    assert get[ERROR_TYPE] == not_found


async def test_call_that_ends_with_the_process_is_not_measured(recorded: Recorded) -> None:
    last_call.set(CallRecord(operation="get"))  # of the call before it
    with pytest.raises(SystemExit), recorded.telemetry.call("get", TENANT):
        raise SystemExit
    assert recorded.points("connector_async.call.duration") == []
    assert attributes(recorded.spans[0])[ERROR_TYPE] == "SystemExit"


@pytest.mark.virtual_time
async def test_waits_for_the_rate_limit_are_measured(recorded: Recorded) -> None:
    async with (
        HostileServer(FOUND) as server,
        open_session(server, telemetry=recorded.telemetry, rate_limit=RateLimit(2, 30), clock=LoopClock()) as session,
    ):
        for _ in range(2):
            await AppointmentService(session).get("123")
    assert recorded.points("connector_async.rate_limit.wait") == [{"sum": 30, "count": 1}]
    waits = [attributes(span).get("connector_async.rate_limit.wait") for span in recorded.spans]
    assert waits == [None, None, 30, None]


async def test_token_requests_are_counted(sandbox: Sandbox, recorded: Recorded) -> None:
    auth = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    session = open_service(sandbox.base_url, auth=auth, telemetry=recorded.telemetry).session
    sandbox.faults.script(StatusFault(500), operation="token")
    with pytest.raises(Exception, match="500"):
        await session.fetch_token()
    await session.request("GET", ("appointment", "preview"))
    assert recorded.points("connector_async.token.requests") == [{ERROR_TYPE: "500", "sum": 1}, {"sum": 1}]
    assert recorded.names == [f"POST {TOKEN}", f"POST {TOKEN}", "GET"]


async def test_outcomes_of_a_bulk_are_counted(service: AppointmentService, recorded: Recorded) -> None:
    report = await BulkReport().collect(
        service.create_many([_draft(), _draft(), "none"]),  # type: ignore[list-item]
        progress=recorded.telemetry,
    )
    assert sorted(report.counts.values()) == [1, 2]
    assert sorted(recorded.points("connector_async.bulk.outcomes"), key=str) == [
        {"connector_async.outcome": "done", "sum": 2},
        {"connector_async.outcome": "failed", "sum": 1},
    ]


async def test_outcomes_of_a_sync_are_counted(
    service: AppointmentService, sandbox: Sandbox, recorded: Recorded, tmp_path: Path
) -> None:
    sync = Syncing(sandbox, service.session, tmp_path / "state.db", service.session.clock)
    records = [record(f"key-{number}", calendar=Calendar(TENANT), hour=number) for number in range(3)]
    sandbox.faults.script(StatusFault(422), operation="create")
    report = await sync.run(records)
    assert recorded.telemetry.record_sync(report) is report
    assert sorted(recorded.points("connector_async.sync.outcomes"), key=str) == [
        {"connector_async.outcome": "created", "sum": 2},
        {"connector_async.outcome": "refused", "sum": 1},
    ]
    assert recorded.names.count("AppointmentService.create") == 3
    assert not any(hidden in recorded.everything() for hidden in ("key-", "Visit", TENANT))


# What is nowhere


async def test_no_id_no_title_and_no_secret_is_recorded(sandbox: Sandbox, recorded: Recorded) -> None:
    service = open_service(
        sandbox.base_url,
        tenant_id=TENANT,
        auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
        telemetry=recorded.telemetry,
        headers={"X-Gateway-Key": "hunter5"},
    )
    sandbox.faults.script(StatusFault(503), DropBefore(), operation="get")
    created = await service.create(_draft())
    await service.get(created.appointment_id)
    await service.update(created.appointment_id, title=TITLE, read_first=True)
    assert [appointment.title async for appointment in service.preview()] == [TITLE]
    await BulkReport().collect(service.get_many([created.appointment_id, "404-id"]), progress=recorded.telemetry)
    await service.delete(created.appointment_id)
    sandbox.revoke_tokens(TENANT)
    with pytest.raises(NotFoundError):
        await service.get(created.appointment_id)
    with pytest.raises(NotFoundError):
        await service.session.request("GET", ("appointment",), query={"appointmentId": created.appointment_id})
    token = (await service.session.fetch_token()).value.reveal()
    everything = recorded.everything()
    assert len(recorded.spans) > 15
    assert APPOINTMENT in everything
    for hidden in (created.appointment_id, TITLE, TENANT, token, DEFAULT_CLIENT_SECRET, "hunter5", "404-id"):
        assert hidden not in everything


# Beside others


@pytest.fixture
def aiohttp_instrumentation() -> Iterator[Recorded]:
    """Instrument aiohttp as an application would."""
    instrumentor = AioHttpClientInstrumentor()
    recorded = Recorded()
    instrumentor.instrument(tracer_provider=recorded.tracer_provider, meter_provider=recorded.meter_provider)
    yield recorded
    instrumentor.uninstrument()


async def test_instrumentation_of_aiohttp_adds_nothing(aiohttp_instrumentation: Recorded, recorded: Recorded) -> None:
    async with HostileServer(FOUND) as server:
        await open_service(server, telemetry=recorded.telemetry).get("123")
        assert aiohttp_instrumentation.names == []
        assert f"{recorded.spans[1].context.span_id:016x}" in server.requests[0].headers["traceparent"]
        # Without our telemetry, it works as ever.
        await open_service(server).get("123")
        assert aiohttp_instrumentation.names == ["GET"]
        assert "traceparent" in server.requests[1].headers


async def test_without_a_provider_nothing_is_recorded_or_sent() -> None:
    async with HostileServer(http(503), FOUND) as server:
        service = open_service(server, telemetry=OpenTelemetry())
        assert (await service.get("123")).appointment_id == "123"
        assert not any("traceparent" in request.headers for request in server.requests)


async def test_errors_pass_through_unchanged(recorded: Recorded) -> None:
    async with HostileServer(FOUND) as server:
        pass
    with pytest.raises(ConnectFailedError) as caught:
        await open_service(server, telemetry=recorded.telemetry).get("123", retry=RetryPolicy(attempts=2))
    assert (caught.value.sent, caught.value.attempts) == (False, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tracer_provider": "global"}, "tracer_provider must be a TracerProvider or None, not str"),
        ({"meter_provider": MeterProvider}, "meter_provider must be a MeterProvider or None, not the class"),
        ({"record_tenant": 1}, "record_tenant must be a bool, not int"),
    ],
)
def test_invalid_options_are_rejected(options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        OpenTelemetry(**options)


class TagOnce:
    """A telemetry of an application's own, which adds a header to the first request."""

    def __init__(self) -> None:
        self.requests = 0

    def call(self, operation: str, tenant_id: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    async def request(self, request: OutgoingRequest, call_next: CallNext) -> Response:
        self.requests += 1
        return await call_next(request.with_headers({"X-Tag": "1"}) if self.requests == 1 else request)

    def waited(self, tenant_id: str, seconds: float) -> None:
        pass


async def test_header_that_telemetry_adds_is_sent_with_one_request_only() -> None:
    async with HostileServer(FOUND) as server:
        service = open_service(server, telemetry=TagOnce())
        for _ in range(2):
            await service.get("123")
        assert ["x-tag" in request.headers for request in server.requests] == [True, False]


async def test_telemetry_must_have_the_methods_of_one() -> None:
    with pytest.raises(TypeError, match="telemetry must be a Telemetry, not object"):
        open_service("https://api.example", telemetry=object())


def _run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def test_nothing_of_opentelemetry_is_imported_without_need() -> None:
    program = "import sys, connector_async; connector_async.AppointmentService; "
    assert _run(program + "print([name for name in sys.modules if 'opentelemetry' in name])") == "[]\n"


def test_missing_package_is_reported_with_the_extra() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
try:
    import connector_async.otel
except ImportError as error:
    print(error, error.name)
"""
    assert _run(program) == (
        "connector_async.otel needs OpenTelemetry: pip install 'connector-async[otel]' opentelemetry\n"
    )


def test_telemetry_works_without_the_instrumentations() -> None:
    program = """
import sys
sys.modules["opentelemetry.instrumentation"] = None
from connector_async.otel import OpenTelemetry
print(type(OpenTelemetry()).__name__)
"""
    assert _run(program) == "OpenTelemetry\n"


def _draft() -> NewAppointment:
    return NewAppointment(
        title=TITLE, start_time=datetime(2024, 1, 15, 10, tzinfo=UTC), end_time=datetime(2024, 1, 15, 11, tzinfo=UTC)
    )
