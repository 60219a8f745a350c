"""Makes a call under its policy, its deadline and its tenant's quota.

The first attempt is made without tenacity, whose bookkeeping would cost half of what the request itself does; after a
failure tenacity takes over, and is told of that attempt as if it had made it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, stop_never
from tenacity.asyncio import retry_all
from tenacity.retry import retry_if_exception_type
from tenacity.wait import WaitBaseT

from connector_async import _log
from connector_async._checks import check_seconds
from connector_async._clock import Clock, Deadline
from connector_async._tracebacks import without_frames
from connector_async.exceptions import (
    ConnectorError,
    DeadlineExceededError,
    DecodingError,
    RateLimitedError,
    ResponseError,
    ThrottledError,
)

from .classification import is_throttled, may_have_happened
from .policy import RetryDetails, RetryPolicy
from .quota import REFUND_WITHOUT_RETRY, RETRY_COST, THROTTLED_RETRY_COST, RetryQuota
from .strategies import (
    retry_if_not_happened,
    retry_if_transient,
    stop_above_retry_after,
    stop_before_deadline,
    wait_backoff,
    wait_retry_after,
)

T = TypeVar("T")


@attrs.define(kw_only=True)
class CallRecord:
    """What a call took: the same that its error would tell."""

    operation: str
    """`get`, `create`, `update`, `delete` or `preview`."""
    attempts: int = 1
    """How many attempts were made, those that never left included. A replay after a 401 is part of its attempt."""
    elapsed: float | None = None
    """Seconds from the call to its end, by the monotonic clock; `None` while it is in flight."""
    request_id: str | None = None
    """How the server names the last exchange, to quote to its support; `None` when it sent no such name."""


last_call: ContextVar[CallRecord] = ContextVar("connector_async.last_call")
"""The record of the latest call that ended in this context, by a cancellation too: read it after the `await`, in the
same task. `get()` raises a `LookupError` before the first call."""


@attrs.frozen
class Operation:
    """What is called."""

    name: str
    idempotent: bool
    """To do it twice is to do it once (RFC 9110, section 9.2.2)."""


Attempt = Callable[[Deadline | None, CallRecord], Awaitable[T]]
"""Makes one attempt, which ends at the deadline, and notes the request id."""


@attrs.frozen(kw_only=True)
class RetryingCaller:
    """Makes the calls of one tenant."""

    tenant: str
    """For the log."""
    clock: Clock
    quota: RetryQuota
    throttle: Callable[[float], Awaitable[None]]
    """Keeps everything of the tenant back for so many seconds."""
    sleep: Callable[[float], Awaitable[None]]
    """Waits for so many seconds, or raises when nothing can be called any more."""
    is_closed: Callable[[], bool]
    """Tells whether nothing can be called any more."""

    async def call(self, operation: Operation, attempt: Attempt[T], policy: RetryPolicy, seconds: float | None) -> T:
        """Make the call: attempts, until one succeeds or the policy ends them.

        Args:
            operation: What is called.
            attempt: Makes one attempt.
            policy: When to try again.
            seconds: The deadline of the whole, from now; `None`: there is none.

        Raises:
            ThrottledError: If no rate-limit slot comes before the deadline, or the server throttles until after it.
            DeadlineExceededError: If the deadline came, or the next wait would go beyond it.
            ConnectorError: The last attempt's.

        Whatever is raised has none of the frames below this one.
        """
        record = CallRecord(operation=operation.name)
        started_at = self.clock.monotonic()
        deadline = None if seconds is None else Deadline(seconds, self.clock)
        try:
            result = await attempt(deadline, record)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
            failed: BaseException = error
        else:
            record.elapsed = self.clock.monotonic() - started_at
            last_call.set(record)
            self.quota.refund(REFUND_WITHOUT_RETRY)
            return result
        if isinstance(failed, ConnectorError):
            first = [without_frames(failed)]
            try:
                return await _FailedCall(self, operation, attempt, policy, deadline, record, started_at, first).go_on()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
                failed = error
        else:
            record.elapsed = self.clock.monotonic() - started_at
            last_call.set(record)
        try:
            raise without_frames(failed)
        finally:
            del failed  # its traceback has this frame: a cycle


@attrs.define
class _FailedCall(Generic[T]):
    """A call whose first attempt has failed."""

    _caller: RetryingCaller
    _operation: Operation
    _attempt: Attempt[T]
    _policy: RetryPolicy
    _deadline: Deadline | None
    _record: CallRecord
    _started_at: float
    _first: list[ConnectorError]
    """The error of the first attempt, until tenacity has been told of it."""
    _sent: bool = False
    """An attempt before the last may have done it."""
    _spent: int = 0
    """What the last retry took from the quota."""
    _latest: ConnectorError | None = None
    """The error of the attempt before this one."""
    _reason: str = ""
    """Why there is no further attempt although the policy allows one."""

    async def go_on(self) -> T:
        """Let tenacity decide and wait, and return the result of the attempt that succeeds."""
        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=self._is_over,
            wait=self._wait_strategy(),
            retry=self._retry_strategy(),
            before=self._backdate,
            before_sleep=self._announce,
            retry_error_callback=self._give_up,
        )
        try:
            result: T = await retrying(self._next)
        except ConnectorError as error:
            error.attempts = self._record.attempts
            error.elapsed = self._end()
            self._complete(error)
            raise
        except (Exception, asyncio.CancelledError):
            self._end()
            raise
        self._end()
        self._caller.quota.refund(self._spent)
        return result

    def _complete(self, error: ConnectorError) -> None:
        """Tell in the error what the attempts before, and the exchange, have to say."""
        error.operation = self._operation.name
        error.sent = error.sent or self._sent
        if isinstance(error, DecodingError):
            error.request_id = error.request_id or self._record.request_id
        elif isinstance(error, ResponseError):
            self._record.request_id = error.request_id
        if isinstance(error, DeadlineExceededError) and error.__cause__ is None:
            error.status = getattr(self._latest, "status", None)
            error.__cause__ = self._latest

    async def _sleep(self, seconds: float) -> None:
        try:
            await self._caller.sleep(seconds)
        except BaseException:
            self._caller.quota.refund(self._spent)  # the retry is not made
            raise

    def _end(self) -> float:
        self._record.elapsed = self._caller.clock.monotonic() - self._started_at
        last_call.set(self._record)
        return self._record.elapsed

    async def _next(self) -> T:
        if self._first:
            raise self._first.pop()
        self._record.attempts += 1
        try:
            return await self._attempt(self._deadline, self._record)
        except ConnectorError as error:
            failed = error
        raise without_frames(failed)  # hooks and strategies see it as well

    def _backdate(self, state: RetryCallState) -> None:
        # So that a delay that a strategy of tenacity bounds begins with the first attempt, by tenacity's own clock.
        if state.attempt_number == 1:
            state.start_time = time.monotonic() - (self._caller.clock.monotonic() - self._started_at)

    def _wait_strategy(self) -> Callable[[RetryCallState], float]:
        policy = self._policy
        if policy.wait is not None:
            return _checked(policy.wait)
        return wait_retry_after(
            wait_backoff(
                initial=policy.wait_initial,
                initial_throttled=policy.wait_initial_throttled,
                maximum=policy.wait_max,
                exp_base=policy.wait_exp_base,
                clock=self._caller.clock,
            ),
            self._caller.clock,
        )

    def _retry_strategy(self) -> retry_all:
        policy = self._policy
        conditions: list[Any] = [_ANY_OF_OURS, policy.retry or retry_if_transient()]  # tenacity takes plain callables
        if not self._operation.idempotent:
            conditions.insert(1, retry_if_not_happened(unavailable_means_refused=policy.unavailable_means_refused))
        return retry_all(*conditions)

    def _is_over(self, state: RetryCallState) -> bool:
        policy = self._policy
        attempts = stop_never if policy.attempts is None else stop_after_attempt(policy.attempts)
        if self._caller.is_closed() or (policy.stop or attempts)(state):
            return True
        if stop_above_retry_after(policy.retry_after_max)(state):
            return True
        if self._deadline is not None and stop_before_deadline(self._deadline)(state):
            self._reason = "deadline"
            return True
        cost = THROTTLED_RETRY_COST if is_throttled(_error(state)) else RETRY_COST
        if not self._caller.quota.spend(cost):
            self._reason = "quota"
            return True
        self._spent = cost
        return False

    async def _announce(self, state: RetryCallState) -> None:
        error = self._latest = _error(state)
        self._sent = self._sent or may_have_happened(error)
        details = RetryDetails(
            operation=self._operation.name,
            attempt=state.attempt_number,
            wait=state.upcoming_sleep,
            waited_so_far=state.idle_for - state.upcoming_sleep,
            error=error,
        )
        _log.retry(
            operation=details.operation,
            tenant=self._caller.tenant,
            attempt=details.attempt,
            wait=details.wait,
            error=error,
        )
        if self._policy.on_retry is not None:
            try:
                self._policy.on_retry(details)
            except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - whatever a hook does, the call goes on
                _log.hook_failure("on_retry", failure)
        await self._throttle_all(state)

    async def _give_up(self, state: RetryCallState) -> T:
        error = _error(state)
        await self._throttle_all(state)
        error.retry_quota_exhausted = self._reason == "quota"
        if self._reason != "deadline":
            raise error
        message = "the next attempt would start after the deadline"
        if not isinstance(error, ResponseError):
            raise DeadlineExceededError(message, sent=error.sent) from error
        if not _is_penalized(error):
            raise DeadlineExceededError(message, status=error.status, sent=error.sent) from error
        raise ThrottledError(
            f"{message}, because the server throttles",
            retry_after=state.upcoming_sleep,
            status=error.status,
            sent=error.sent,
        ) from error

    async def _throttle_all(self, state: RetryCallState) -> None:
        """Keep the whole tenant back after a 429 that does not say for how long; the session sees to those that do."""
        error = _error(state)
        if isinstance(error, RateLimitedError) and error.retry_after is None and state.upcoming_sleep > 0:
            await self._caller.throttle(state.upcoming_sleep)


def _is_penalized(error: ResponseError) -> bool:
    """Return whether nothing of the tenant is sent for a while after this error."""
    return isinstance(error, RateLimitedError) or (is_throttled(error) and error.retry_after is not None)


def _checked(wait: WaitBaseT) -> Callable[[RetryCallState], float]:
    """Return what asks a strategy of the caller's own, and refuses what is no wait, by the field's name."""

    def checked_wait(state: RetryCallState) -> float:
        return check_seconds("what wait returns", wait(state), finite=False)

    return checked_wait


_ANY_OF_OURS: Final = retry_if_exception_type(ConnectorError)


def _error(state: RetryCallState) -> ConnectorError:
    error = None if state.outcome is None else state.outcome.exception()
    assert isinstance(error, ConnectorError)  # noqa: S101 - the strategy has let no other one through
    return error
