"""What middleware and telemetry cost: a `get` with some of each, beside the same `get` with none."""

import asyncio
import contextlib
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks import rounds, server
from benchmarks.peers import TENANT, TOKEN
from benchmarks.peers.ours import UNREACHABLE_LIMIT
from benchmarks.tables import Settings, Table, compare
from benchmarks.workload import in_tasks, new_ids
from connector_async import AppointmentService, CallNext, ConnectorSession, OutgoingRequest, Response, StaticToken
from connector_async.otel import OpenTelemetry

_CALLS = 640
_ROUNDS = 30
_NONE = "no middleware"


async def _pass_on(request: OutgoingRequest, call_next: CallNext) -> Response:
    return await call_next(request)


def _in_memory() -> OpenTelemetry:
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    meter_provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return OpenTelemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)


_OPTIONS: dict[str, dict[str, Any]] = {
    _NONE: {},
    "a header": {"headers": {"X-Gateway-Key": "key"}},
    "one middleware": {"middlewares": [_pass_on]},
    "three middlewares": {"middlewares": [_pass_on] * 3},
    "OpenTelemetry, no provider": {"telemetry": OpenTelemetry()},
    "OpenTelemetry, SDK in memory": {"telemetry": _in_memory()},
}


def _contestant(session: ConnectorSession) -> rounds.Contestant:
    get = AppointmentService(session).get
    return lambda calls: in_tasks(get, new_ids(calls))


async def _measure(base_url: str, settings: Settings) -> Table:
    async with contextlib.AsyncExitStack() as stack:
        contestants = {}
        for name, options in _OPTIONS.items():
            session = ConnectorSession(
                base_url, tenant_id=TENANT, auth=StaticToken(TOKEN), rate_limit=UNREACHABLE_LIMIT, **options
            )
            contestants[name] = _contestant(await stack.enter_async_context(session))
        measurement = await rounds.measure(
            contestants, floor=_NONE, rounds=settings.rounds_or(_ROUNDS), calls=settings.size(_CALLS)
        )
    return compare(measurement, name="middleware.get", title="get with middleware and telemetry", unit="call")


def measure(settings: Settings) -> list[Table]:
    """Return one table."""
    with server.running() as base_url:
        return [asyncio.run(_measure(base_url, settings))]
