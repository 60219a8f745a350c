"""Which tenant is worked on when, and when no more operations start."""

import asyncio

import pytest

from connector_async.sync import Budget, LocalRunner, Slice, StopReason
from tests.conftest import ManualClock


async def test_tenants_take_turns_by_the_quantum() -> None:
    left = {"big": 5, "small": 1, "tiny": 0}
    turns: list[str] = []

    async def work(piece: Slice) -> bool:
        assert piece.quantum == 7
        turns.append(piece.tenant_id)
        left[piece.tenant_id] -= 1
        return left[piece.tenant_id] > 0

    await LocalRunner(tenants_at_a_time=1, quantum=7).run(left, work)
    assert turns == ["big", "small", "tiny", "big", "big", "big", "big"]


async def test_concurrent_tenants_are_limited_and_slices_of_one_never_overlap() -> None:
    in_flight: list[str] = []
    most = 0
    left = dict.fromkeys("abcdef", 4)

    async def work(piece: Slice) -> bool:
        nonlocal most
        assert piece.tenant_id not in in_flight
        in_flight.append(piece.tenant_id)
        most = max(most, len(in_flight))
        await asyncio.sleep(0)
        in_flight.remove(piece.tenant_id)
        left[piece.tenant_id] -= 1
        return left[piece.tenant_id] > 0

    await LocalRunner(tenants_at_a_time=3).run(left, work)
    assert most == 3
    assert set(left.values()) == {0}


async def test_error_of_a_slice_ends_the_run() -> None:
    cancelled = asyncio.Event()

    async def work(piece: Slice) -> bool:
        if piece.tenant_id == "bad":
            raise ZeroDivisionError
        try:
            return bool(await asyncio.Event().wait())
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(ZeroDivisionError):
        await LocalRunner().run(["good", "bad"], work)
    assert cancelled.is_set()


@pytest.mark.parametrize("arguments", [{"tenants_at_a_time": 0}, {"quantum": 0}])
def test_runner_limits_of_zero_are_rejected(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        LocalRunner(**arguments)


def test_no_operation_starts_at_the_limit_of_requests() -> None:
    budget = Budget(ManualClock(), max_requests=3)
    with budget.operation() as first, budget.operation() as second:
        assert first
        assert second
        budget.spend(1)
    with budget.operation() as third, budget.operation() as fourth:
        assert third
        assert fourth
        assert budget.reason is None
        with budget.operation() as fifth:
            assert not fifth
    assert budget.reason is StopReason.REQUESTS


def test_no_operation_starts_after_the_duration() -> None:
    clock = ManualClock()
    budget = Budget(clock, max_duration=10)
    clock.now += 9.9
    with budget.operation() as may_start:
        assert may_start
    clock.now += 0.2
    with budget.operation() as may_start:
        assert not may_start
    assert budget.reason is StopReason.DURATION


async def test_stop_and_duration_end_a_wait() -> None:
    clock = ManualClock()
    assert await Budget(clock).sleep(5)
    short = Budget(clock, max_duration=2)
    assert not await short.sleep(5)
    assert short.reason is StopReason.DURATION

    class Never(ManualClock):
        async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - the clock's
            await asyncio.Event().wait()

    stopped = Budget(Never())
    wait = asyncio.create_task(stopped.sleep(5))
    await asyncio.sleep(0)
    stopped.stop()
    stopped.stop(StopReason.DURATION)
    assert not await wait
    assert stopped.reason is StopReason.SIGNAL


@pytest.mark.parametrize("arguments", [{"max_requests": 0}, {"max_duration": 0}])
def test_budget_limits_of_zero_are_rejected(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Budget(ManualClock(), **arguments)
