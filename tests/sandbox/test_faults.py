import asyncio
from typing import Any

import aiohttp
import pytest

from connector_async.sandbox import (
    DelayFault,
    DropAfter,
    DropBefore,
    Fault,
    FaultRates,
    Faults,
    LimitWindow,
    RevokedToken,
    Sandbox,
    SandboxLimit,
    SlowDrip,
    StatusFault,
    TruncatedResponse,
    WriteResponse,
    WrongLength,
    fault_named,
)
from tests.support.sandbox_user import MEETING, Tenant, signed_in

ALL: tuple[Fault, ...] = (
    StatusFault(503),
    DelayFault(0.5),
    DropBefore(),
    DropAfter(),
    TruncatedResponse(),
    WrongLength(),
    SlowDrip(),
    RevokedToken(),
)


class Sleeper:
    """A sleep that records the seconds and returns at once."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def count(tenant: Tenant) -> int:
    return len((await tenant.call("GET", "/preview"))[1])


def outcome(sandbox: Sandbox) -> tuple[int, str | None, bool]:
    """Return the status, fault and `applied` of the latest create in the log."""
    entry = next(entry for entry in reversed(sandbox.log.entries) if entry.operation == "create")
    return entry.status, entry.fault, entry.applied


async def test_status_fault_is_a_problem_and_skips_the_operation() -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(StatusFault(503, retry_after=7))
        async with acme.session.post("/acme/appointment", json=MEETING, headers=acme.headers) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "7")
            assert (await response.json())["title"] == "Service Unavailable"
        assert outcome(sandbox) == (503, "status-503", False)
        assert await count(acme) == 0


@pytest.mark.parametrize(
    ("code", "kind", "title"),
    [
        (502, "https://tools.ietf.org/html/rfc9110#section-15.6.3", "Bad Gateway"),
        (409, "about:blank", "Conflict"),
        (599, "about:blank", "Error"),
    ],
)
async def test_any_error_status_can_be_scripted_without_retry_after(code: int, kind: str, title: str) -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(StatusFault(code))
        async with acme.session.get("/acme/appointment/preview", headers=acme.headers) as response:
            problem = await response.json()
            assert (response.status, "Retry-After" in response.headers) == (code, False)
    assert (problem["type"], problem["title"]) == (kind, title)


async def test_delay_precedes_the_usual_response() -> None:
    sleep = Sleeper()
    sandbox = Sandbox(sleep=sleep)
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(DelayFault(0.5))
        assert await acme.create(MEETING)
        assert (sleep.slept, outcome(sandbox)) == ([0.5], (200, "delay", True))


@pytest.mark.parametrize(("fault", "applied"), [(DropBefore(), False), (DropAfter(), True)])
async def test_drop_closes_the_connection_without_a_response(fault: Fault, *, applied: bool) -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(fault)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await acme.create(MEETING)
        assert outcome(sandbox) == (0, fault.name, applied)
        assert await count(acme) == applied


async def test_failed_operation_that_is_dropped_is_not_applied() -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(DropAfter())
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await acme.call("POST", json={})
        assert outcome(sandbox) == (0, "drop-after", False)


async def raw_create(sandbox: Sandbox, acme: Tenant) -> tuple[int, bytes]:
    """Create an appointment and return the Content-Length and the body as they were sent."""
    host, port = sandbox.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"title":"x","startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T11:00:00Z"}'
    head = f"POST /acme/appointment HTTP/1.1\r\nHost: x\r\ntenantId: acme\r\nAuthorization: Bearer {acme.token}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(5):
        headers, _, received = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    (length,) = (line for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(length.partition(b":")[2]), received


@pytest.mark.parametrize(
    ("fault", "content_length", "body"),
    [(TruncatedResponse(), 26, b'{"appointment'), (WrongLength(), 27, b'{"appointmentId":"123456"}')],
)
async def test_cut_response_announces_more_bytes_than_it_sends(fault: Fault, content_length: int, body: bytes) -> None:
    sandbox = Sandbox(new_appointment_id=lambda: "123456")
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(fault)
        assert await raw_create(sandbox, acme) == (content_length, body)
        assert outcome(sandbox) == (200, fault.name, True)
        assert await count(acme) == 1


@pytest.mark.parametrize("fault", [TruncatedResponse(), WrongLength()])
async def test_client_detects_a_cut_response(fault: Fault) -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(fault)
        with pytest.raises(aiohttp.ClientPayloadError):
            await acme.create(MEETING)
        assert await count(acme) == 1


@pytest.mark.parametrize("fault", [TruncatedResponse(), WrongLength()])
@pytest.mark.parametrize("kind", [WriteResponse.EMPTY_200, WriteResponse.EMPTY_204])
async def test_response_without_a_body_is_dropped_instead_of_cut(fault: Fault, kind: WriteResponse) -> None:
    sandbox = Sandbox(write_response=kind)
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(fault)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await acme.call("POST", json=MEETING)
        assert outcome(sandbox) == (0, fault.name, True)


@pytest.mark.parametrize(
    ("total", "slow"),
    [(0.0, 0), (0.3, 3), (100.0, 26)],
)
async def test_slow_response_drips_until_its_total_time(total: float, slow: int) -> None:
    sleep = Sleeper()
    sandbox = Sandbox(sleep=sleep, new_appointment_id=lambda: "123456")
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(SlowDrip(interval=0.1, total=total))
        assert await acme.create(MEETING) == "123456"
        assert sleep.slept == [0.1] * slow
        assert outcome(sandbox) == (200, "slow-drip", True)


async def test_slow_response_without_a_body_is_unchanged() -> None:
    sandbox = Sandbox(sleep=Sleeper(), write_response=WriteResponse.EMPTY_204)
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(SlowDrip())
        assert await acme.call("POST", json=MEETING) == (204, None)


async def test_client_may_disconnect_during_a_slow_response() -> None:
    disconnected = asyncio.Event()

    async def sleep_until_disconnect(_seconds: float) -> None:
        async with asyncio.timeout(5):
            await disconnected.wait()
        await asyncio.sleep(0.01)

    sandbox = Sandbox(sleep=sleep_until_disconnect)
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(SlowDrip())
        async with acme.session.post("/acme/appointment", json=MEETING, headers=acme.headers) as response:
            response.close()
        disconnected.set()
        assert await count(acme) == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("fault", [DropAfter(), DropBefore()])
async def test_client_may_disconnect_before_a_drop(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(fault)
        monkeypatch.setattr("aiohttp.web.BaseRequest.transport", None)
        async with asyncio.timeout(5):
            assert (await acme.call("POST", json=MEETING))[0] == 200
        assert outcome(sandbox)[0] == 0


async def test_revoked_token_fault_looks_like_a_revoked_token_but_revokes_nothing() -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(RevokedToken())
        async with acme.session.post("/acme/appointment", json=MEETING, headers=acme.headers) as response:
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
        assert outcome(sandbox) == (401, "revoked-token", False)
        assert await count(acme) == 0


async def test_scripted_faults_hit_one_matching_request_each_in_order() -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(StatusFault(500), StatusFault(502), operation="create")
        sandbox.faults.script(StatusFault(503), tenant="other")
        assert await count(acme) == 0
        sandbox.faults.script(StatusFault(504))
        statuses = [(await acme.call("POST", json=MEETING))[0] for _ in range(3)]
        assert statuses == [500, 502, 504]
        assert await count(acme) == 0
        assert sandbox.log.count(fault="status-502") == 1
        assert sandbox.log.count(fault="status-503") == 0
        async with acme.session.get("/other/appointment") as response:
            assert response.status == 503
        sandbox.faults.script(StatusFault(500), StatusFault(502))
        sandbox.faults.clear()
        assert await count(acme) == 0


def test_no_fault_hits_the_openapi_document_and_no_revoked_token_hits_token_requests() -> None:
    faults = Faults(FaultRates({RevokedToken(): 1.0}))
    assert faults.take("token", "acme") is None
    assert faults.take("get", "acme") == RevokedToken()
    faults.script(RevokedToken(), StatusFault(500))
    assert faults.take("openapi", "") is None
    assert faults.take("token", "acme") == StatusFault(500)
    assert faults.take("get", "acme") == RevokedToken()


def drawn(seed: int, count: int = 2_000) -> list[Fault | None]:
    faults = Faults(FaultRates({DropAfter(): 0.1, StatusFault(503): 0.2}, seed=seed))
    return [faults.take("get", "acme") for _ in range(count)]


def test_rates_hit_their_fraction_and_are_reproducible_by_seed() -> None:
    first = drawn(1)
    assert first == drawn(1)
    assert first != drawn(2)
    assert 150 < first.count(DropAfter()) < 250
    assert 320 < first.count(StatusFault(503)) < 480


async def test_random_faults_are_counted_in_the_log() -> None:
    sandbox = Sandbox(fault_rates=FaultRates({StatusFault(503): 0.5}, seed=1))
    sandbox.faults.script(DelayFault(0), operation="token")  # so that the token request succeeds
    async with signed_in(sandbox) as acme:
        statuses = [(await acme.call("GET", "/preview"))[0] for _ in range(40)]
        assert sandbox.log.count(fault="status-503") == statuses.count(503)
        assert 10 < statuses.count(503) < 30


async def test_request_over_the_rate_limit_consumes_no_fault() -> None:
    limit = SandboxLimit(requests=1, window=LimitWindow.SLIDING)
    sandbox = Sandbox(limit=limit, monotonic=lambda: 0.0)
    async with signed_in(sandbox) as acme:
        sandbox.faults.script(StatusFault(500))
        assert (await acme.call("GET", "/preview"))[0] == 429
        assert sandbox.faults.take("get", "acme") == StatusFault(500)


@pytest.mark.parametrize(
    "rates", [{DropAfter(): -0.1}, {DropAfter(): float("nan")}, {DropAfter(): 0.6, DropBefore(): 0.6}]
)
def test_rates_outside_zero_to_one_are_rejected(rates: Any) -> None:
    with pytest.raises(ValueError, match="rates must be"):
        FaultRates(rates)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StatusFault(200),
        lambda: StatusFault(600),
        lambda: StatusFault(503, retry_after=-1),
        lambda: DelayFault(-1),
        lambda: DelayFault(float("nan")),
        lambda: SlowDrip(interval=0),
        lambda: SlowDrip(total=float("inf")),
    ],
)
def test_invalid_fault_is_rejected(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        make()


@pytest.mark.parametrize("fault", ALL)
def test_fault_is_found_by_its_name(fault: Fault) -> None:
    name = "delay-0.5" if isinstance(fault, DelayFault) else fault.name
    assert fault_named(name) == fault


@pytest.mark.parametrize("name", ["", "dropped", "status-x", "delay", "status"])
def test_unknown_fault_name_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        fault_named(name)


def test_drop_means_drop_after() -> None:
    assert fault_named("drop") == DropAfter()
