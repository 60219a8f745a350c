"""Any response is a result or an error of the tree, in bounded time and memory."""

import asyncio
import gzip
import resource
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector_async import (
    Appointment,
    AppointmentService,
    ClientCredentials,
    ConnectorError,
    ConnectorSession,
    DirectoryUser,
    NewAppointment,
    RetryPolicy,
    StaticToken,
    WireFormat,
)
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer
from tests.support.strategies import hostile_fields, json_values

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
DRAFT = NewAppointment(title="Visit", start_time=TEN, end_time=TEN)
EXAMPLES = 500
TRUE_LENGTH = -1
ATTEMPT_TIMEOUT = 0.5
ATTEMPTS = 2
OPERATIONS = ("get", "create", "update", "delete", "preview", "token")
NAMES = [
    b"Content-Type",
    b"Content-Encoding",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Retry-After",
    b"Location",
    b"Set-Cookie",
    b"X-Request-Id",
    b"traceparent",
    b"Connection",
    b"X",
]
VALUES = [
    b"application/json",
    b"application/problem+json; charset=utf-16",
    b"gzip",
    b"br",
    b"zstd",
    b"deflate, gzip",
    b"chunked",
    b"close",
    b"upgrade",
    b"0",
    b"-1",
    b"99999999999999999999",
    b"https://[",
    b"\xff\xfe",
    b"",
]

reference_fields = st.fixed_dictionaries(
    {},
    optional={"appointmentId": json_values, "subject": json_values, "body": json_values, "timeZone": json_values},
)
appointments = st.one_of(hostile_fields, reference_fields, json_values)
tokens = st.fixed_dictionaries(
    {}, optional={"accessToken": json_values, "token": json_values, "expiresIn": json_values}
)
fields = {
    "appointmentId": "1",
    "title": "x",
    "subject": "x",
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T10:00:00Z",
}
bodies = st.one_of(
    st.binary(max_size=200),
    st.one_of(appointments, st.lists(appointments, max_size=3), tokens).map(orjson.dumps),
    st.sampled_from([fields, [fields], {"token": "t"}]).map(orjson.dumps),
    st.integers(1, 50_000).map(lambda depth: b"[" * depth),
    st.binary(max_size=50).map(gzip.compress),
    st.binary(max_size=50).map(zlib.compress),
)
header_values = st.sampled_from(VALUES) | st.binary(max_size=30).filter(lambda value: b"\n" not in value)
headers: st.SearchStrategy[list[tuple[bytes, bytes]]] = st.just([]) | st.lists(
    st.tuples(st.sampled_from(NAMES), header_values), max_size=3
)
statuses = st.sampled_from([200, 201, 204, 206, 301, 400, 401, 404, 429, 500, 503]) | st.integers(0, 1099)
lengths = st.sampled_from([TRUE_LENGTH, TRUE_LENGTH, TRUE_LENGTH, None]) | st.integers(0, 500)


@attrs.define
class Harness:
    """One loop, and one server with a changing response."""

    runner: asyncio.Runner
    server: HostileServer
    response: bytes = b""
    outcomes: Counter[str] = attrs.field(factory=Counter)
    slowest: float = 0

    def run(self, operation: str, wire_format: WireFormat) -> None:
        started_at = time.perf_counter()
        outcome = self.runner.run(attempt(self.server.base_url, operation, wire_format))
        self.slowest = max(self.slowest, time.perf_counter() - started_at)
        self.outcomes[outcome] += 1


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(shared.response)
        writer.close()

    with asyncio.Runner() as runner:
        shared = Harness(runner, HostileServer(respond))
        runner.run(shared.server.__aenter__())
        yield shared
        runner.run(shared.server.__aexit__(None, None, None))
        calls = shared.outcomes.total()
        print(f"\n{calls} responses, the slowest call {shared.slowest:.3f} s: {dict(shared.outcomes)}")


async def attempt(base_url: str, operation: str, wire_format: WireFormat) -> str:
    auth: Any = StaticToken("t")
    if operation == "token":
        auth = ClientCredentials("id", "secret")
    user = DirectoryUser("user", "directory") if wire_format.carries_user else None
    async with ConnectorSession(
        base_url,
        tenant_id="acme",
        auth=auth,
        wire_format=wire_format,
        attempt_timeout=ATTEMPT_TIMEOUT,
        clock=ManualClock(),
    ) as session:
        try:
            service = AppointmentService(session, user=user, retry=RetryPolicy(attempts=ATTEMPTS))
            result = await call(service, operation, wire_format)
        except ConnectorError as error:
            return type(error).__name__
    assert result is None or isinstance(result, Appointment | list)
    return "success"


async def call(service: AppointmentService, operation: str, wire_format: WireFormat) -> object:
    if operation in {"get", "token"}:
        return await service.get("1")
    if operation == "create":
        return await service.create(DRAFT)
    if operation == "update":
        return await service.update("1", title="x")
    if operation == "delete":
        await service.delete("1")
        return None
    return [item async for item in service.preview(TEN, TEN)]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(statuses, headers, bodies, lengths, st.sampled_from(OPERATIONS), st.sampled_from(list(WireFormat)))
def test_any_response_is_a_result_or_an_error_of_the_tree(
    harness: Harness,
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    length: int | None,
    operation: str,
    wire_format: WireFormat,
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stated = b"" if length is None else b"Content-Length: %d\r\n" % (len(body) if length == TRUE_LENGTH else length)
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    harness.response = b"HTTP/1.1 %d Reason\r\n" % status + stated + head + b"\r\n" + body
    harness.run(operation, wire_format)
    assert harness.slowest < ATTEMPTS * ATTEMPT_TIMEOUT + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(OPERATIONS))
def test_any_bytes_are_a_result_or_an_error_of_the_tree(harness: Harness, response: bytes, operation: str) -> None:
    harness.response = response
    harness.run(operation, WireFormat.GUIDE)
    assert harness.slowest < ATTEMPTS * ATTEMPT_TIMEOUT + 1


BOMB = """
import asyncio, re, sys
from connector_async import AppointmentService, ConnectorError, ConnectorSession, StaticToken

def peak():  # not ru_maxrss, which a child inherits
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

async def main():
    async with ConnectorSession(sys.argv[1], tenant_id="acme", auth=StaticToken("t")) as session:
        sizes = []
        for _ in range(2):  # the first response is small and warms up
            try:
                await AppointmentService(session).get("1")
            except ConnectorError as error:
                sizes.append(peak())
                name = type(error).__name__
        print(name, sizes[1] - sizes[0])

asyncio.run(main())
"""


async def test_gzip_bomb_of_400_mb_costs_less_than_20_mb() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(4_000_000)
    bomb = b"".join(compressor.compress(block) for _ in range(100)) + compressor.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    small = gzip.compress(b"{}")
    async with HostileServer(head % len(small) + small, head % len(bomb) + bomb) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BOMB, server.base_url, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
    name, growth = output.decode().split()
    print(f"\n{len(bomb):,} bytes that decompress to 400 MB: {int(growth) / 1000:.1f} MB more")
    assert name == "DecodingError"
    assert int(growth) < 20_000
