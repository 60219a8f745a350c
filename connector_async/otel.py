"""OpenTelemetry: a span for each call and each request, and metrics. It needs the extra `otel`.

The attributes follow the semantic conventions for HTTP clients. None of them holds an id, a title or a token:
`url.template` replaces `url.full`, whose query has the appointment's id and whose path has the tenant's. So have the
messages of errors; a span has the class of an error alone.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from ._checks import check_type
from ._version import VERSION
from .bulk_calls import Outcome
from .protocol import Response
from .retry import last_call
from .session import CallNext, OutgoingRequest

if TYPE_CHECKING:
    from .sync import RunReport

try:
    from opentelemetry import propagate
    from opentelemetry.metrics import Histogram, MeterProvider, get_meter
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider, get_tracer, use_span
except ImportError as error:
    message = "connector_async.otel needs OpenTelemetry: pip install 'connector-async[otel]'"
    raise ImportError(message, name=error.name) from None

try:
    # The instrumentation of aiohttp, if it is installed, would add a second span, with the whole URL.
    from opentelemetry.instrumentation.utils import suppress_http_instrumentation as _alone
except ImportError:
    _alone: Callable[[], AbstractContextManager[None]] = nullcontext  # type: ignore[no-redef]

_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds of the buckets that the conventions name for `http.client.request.duration`."""
_LONG_SECONDS: Final = (*_SECONDS, 30, 60, 120, 300)


@attrs.define(eq=False)
class _CallState:
    """What the requests of one call add up to."""

    sent: Counter[tuple[str, str | None]] = attrs.field(factory=Counter)
    """How often each method and template was sent."""
    waited: float = 0.0


_state: ContextVar[_CallState | None] = ContextVar("connector_async.otel", default=None)


class OpenTelemetry:
    """The telemetry of a session: `ConnectorSession(…, telemetry=OpenTelemetry())`.

    It is also a `ProgressListener`, which counts the outcomes of a bulk: `collect(…, progress=telemetry)`. One object
    may serve many sessions.

    Args:
        tracer_provider: Makes the spans. `None`: the global one.
        meter_provider: Takes the metrics. `None`: the global one.
        record_tenant: Whether spans have the tenant's id, as `connector_async.tenant.id`. Metrics never do.

    Raises:
        TypeError: If an argument has another type.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        record_tenant: bool = False,
    ) -> None:
        check_type("tracer_provider", tracer_provider, TracerProvider, optional=True)
        check_type("meter_provider", meter_provider, MeterProvider, optional=True)
        check_type("record_tenant", record_tenant, bool)
        self._record_tenant = record_tenant
        self._tracer = get_tracer("connector_async", VERSION, tracer_provider)
        meter = get_meter("connector_async", VERSION, meter_provider)

        def seconds(name: str, description: str, bounds: tuple[float, ...] = _LONG_SECONDS) -> Histogram:
            return meter.create_histogram(
                name, unit="s", description=description, explicit_bucket_boundaries_advisory=bounds
            )

        self._request_duration = seconds("http.client.request.duration", "Duration of HTTP client requests.", _SECONDS)
        self._call_duration = seconds("connector_async.call.duration", "Duration of calls, retries and waits included.")
        self._wait = seconds("connector_async.rate_limit.wait", "Time that a request waited for its rate-limit slot.")
        self._attempts = meter.create_histogram(
            "connector_async.call.attempts",
            unit="{attempt}",
            description="Attempts of calls.",
            explicit_bucket_boundaries_advisory=(1, 2, 3, 4, 5, 10, 20),
        )
        self._tokens = meter.create_counter("connector_async.token.requests", "{request}", "Token requests.")
        self._bulk = meter.create_counter("connector_async.bulk.outcomes", "{outcome}", "Outcomes of bulk calls.")
        self._sync = meter.create_counter("connector_async.sync.outcomes", "{key}", "Fates of the keys of bulk syncs.")

    @contextmanager
    def call(self, operation: str, tenant_id: str) -> Iterator[None]:
        """Trace one call of a service, and record its duration and its attempts."""
        attributes: dict[str, Any] = {"connector_async.operation": operation}
        state = _CallState()
        token = _state.set(state)
        record_before = last_call.get(None)
        try:
            with self._span(f"AppointmentService.{operation}", SpanKind.INTERNAL, attributes, tenant_id) as span:
                try:
                    yield
                except BaseException as error:
                    _record_error(span, attributes, _type_of(error))
                    raise
                finally:
                    if state.waited:
                        span.set_attribute("connector_async.rate_limit.wait", state.waited)
                    record = last_call.get(None)
                    if record is not None and record is not record_before:  # the process may be ending
                        span.set_attribute("connector_async.attempts", record.attempts)
                        self._call_duration.record(record.elapsed or 0.0, attributes)
                        self._attempts.record(record.attempts, attributes)
        finally:
            _state.reset(token)

    async def request(self, request: OutgoingRequest, call_next: CallNext) -> Response:
        """Trace one request, record its duration, and send the context of its span along."""
        attributes = _attributes(request)
        name = f"{request.method if request.method in _METHODS else 'HTTP'} {request.template or ''}".rstrip()
        with self._span(name, SpanKind.CLIENT, attributes, request.tenant_id) as span:
            if request.method not in _METHODS:  # not in metrics: there is no end to such methods
                span.set_attribute("http.request.method_original", request.method)
            if resends := _count_send(request):
                span.set_attribute("http.request.resend_count", resends)
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            if carrier:
                request = request.with_headers(carrier)
            started_at = time.perf_counter()
            try:
                with _alone():
                    response = await call_next(request)
            except BaseException as error:
                _record_error(span, attributes, _type_of(error))
                raise
            else:
                attributes["http.response.status_code"] = response.status
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= 400:
                    _record_error(span, attributes, str(response.status))
                return response
            finally:
                self._request_duration.record(time.perf_counter() - started_at, attributes)
                if request.operation == "token":
                    self._tokens.add(1, {name: attributes[name] for name in ("error.type",) if name in attributes})

    def waited(self, tenant_id: str, seconds: float) -> None:  # noqa: ARG002 - metrics have no tenant
        """Record that a request waited for its rate-limit slot."""
        self._wait.record(seconds)
        if (state := _state.get()) is not None:
            state.waited += seconds

    def begin(self, total: int | None) -> None:
        """Do nothing: a bulk starts."""

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        """Count an outcome of a bulk."""
        self._bulk.add(1, {"connector_async.outcome": outcome.status.value})

    def end(self) -> None:
        """Do nothing: a bulk has ended."""

    def record_sync(self, report: "RunReport") -> "RunReport":
        """Count what became of the keys of a run of the bulk sync, and return its report."""
        for fate, number in report.counts.items():
            self._sync.add(number, {"connector_async.outcome": fate.value})
        return report

    def _span(
        self, name: str, kind: SpanKind, attributes: dict[str, Any], tenant_id: str
    ) -> AbstractContextManager[Span]:
        if self._record_tenant:
            attributes = attributes | {"connector_async.tenant.id": tenant_id}
        return use_span(
            self._tracer.start_span(name, kind=kind, attributes=attributes),
            end_on_exit=True,
            record_exception=False,  # the message and the frames of an error have the tenant's id
            set_status_on_exception=False,
        )


def _attributes(request: OutgoingRequest) -> dict[str, Any]:
    parts = urlsplit(request.url)
    attributes: dict[str, Any] = {
        "http.request.method": request.method if request.method in _METHODS else "_OTHER",
        "server.address": parts.hostname,
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
    if request.template is not None:
        attributes["url.template"] = request.template
    return attributes


def _count_send(request: OutgoingRequest) -> int:
    """Return how often the request was sent before in its call."""
    state = _state.get()
    if state is None:
        return 0
    key = (request.method, request.template)
    state.sent[key] += 1
    return state.sent[key] - 1


def _record_error(span: Span, attributes: dict[str, Any], error_type: str) -> None:
    attributes["error.type"] = error_type
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
