"""Makes a call under its policy, its deadline and its tenant's quota.

The first attempt is made without tenacity: its bookkeeping would cost half as much as the request itself. After a
failure tenacity takes over, and gets the error of that attempt as if it had made the attempt itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

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
    RateLimitStoreError,
    ResponseError,
    ThrottledError,
)
from connector_async.protocol import Response, reduced, request_id

from .classification import is_throttled, may_have_happened
from .policy import RetryDetails, RetryPolicy
from .quota import REFUND_WITHOUT_RETRY, RETRY_COST, THROTTLED_RETRY_COST, RetryQuota, SharedRetryQuota
from .strategies import (
    retry_if_not_happened,
    retry_if_transient,
    stop_above_retry_after,
    stop_before_deadline,
    wait_backoff,
    wait_retry_after,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.define(kw_only=True)
class CallRecord:
    """The attempts, the duration and the last response of one call. A failed call has the same facts on its error."""

    operation: str
    """`get`, `create`, `update`, `delete` or `preview`; `request` for any other endpoint."""
    attempts: int = 1
    """The number of attempts, those that were never sent included. A replay after a 401 is part of its attempt."""
    elapsed: float | None = None
    """Seconds from the start of the call to its end, by the monotonic clock. `None` while it is in flight."""
    request_id: str | None = None
    """The server's id of the last request, to quote to its support. `None` if the response had none."""
    status: int | None = None
    """The HTTP status code of the last response. `None` if there was none."""
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    """The headers of the last 2xx response. Names are matched without regard to case."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    def note(self, response: Response) -> None:
        """Keep what a 2xx response says beside its body."""
        self.status = response.status
        self.headers = response.headers
        self.request_id = request_id(response.headers)

    def note_failure(self, error: ConnectorError) -> None:
        """Keep what the error of another response says."""
        if isinstance(error, ResponseError):
            self.status = error.status
            self.request_id = error.request_id


last_call: ContextVar[CallRecord] = ContextVar("connector_async.last_call")
"""The record of the latest call that ended in this context, cancelled ones included. Read it after the `await`, in the
same task. `get()` raises `LookupError` before the first call."""


class Call(Protocol[T_co]):
    """One call of an operation. The policy decides how many attempts are made at it."""

    @property
    def operation(self) -> str:
        """The name of the operation: `get`, `create`, `update`, `delete`, `preview` or `request`."""
        ...

    @property
    def idempotent(self) -> bool:
        """Whether doing it twice has the effect of doing it once (RFC 9110, section 9.2.2)."""
        ...

    def attempt(self, deadline: Deadline | None, record: CallRecord) -> Awaitable[T_co]:
        """Make one attempt, which ends at the deadline, and note its response in the record."""
        ...


@attrs.define(eq=False, repr=False, kw_only=True)  # a frozen class takes twice as long to build
class RetryingCaller:
    """Makes the calls of one tenant."""

    tenant: str
    """The tenant's name in the log."""
    clock: Clock
    quota: RetryQuota | SharedRetryQuota
    throttle: Callable[[float], Awaitable[None]]
    """Sends nothing for the tenant for a number of seconds."""
    sleep: Callable[[float], Awaitable[None]]
    """Waits for a number of seconds, or raises when the session is closed."""
    is_closed: Callable[[], bool]
    """Returns whether the session is closed, so that no attempt can succeed."""
    observe: Callable[[str, str], AbstractContextManager[object]] | None = None
    """Returns a context manager around a call, from its operation and its tenant."""

    async def make(self, call: Call[T], policy: RetryPolicy, seconds: float | None) -> T:
        """Make attempts until one succeeds or the policy ends the call, and return the result.

        The error that is raised has none of the frames below this one.

        Args:
            call: The call.
            policy: When to retry.
            seconds: The deadline of the whole call, from now; `None`: no deadline.

        Raises:
            ThrottledError: If no rate-limit slot comes before the deadline, or the server throttles until after it.
            DeadlineExceededError: If the deadline expires, or the next wait would end after it.
            ConnectorError: If the last attempt fails otherwise.
        """
        if self.observe is not None:
            with self.observe(call.operation, self.tenant):
                return await attrs.evolve(self, observe=None).make(call, policy, seconds)
        record = CallRecord(operation=call.operation)
        started_at = self.clock.monotonic()
        deadline = None if seconds is None else Deadline(seconds, self.clock)
        try:
            result = await call.attempt(deadline, record)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
            failed: BaseException = error
        else:
            record.elapsed = self.clock.monotonic() - started_at
            last_call.set(record)
            self.quota.refund(REFUND_WITHOUT_RETRY)
            return result
        if isinstance(failed, ConnectorError):
            first_error = [without_frames(failed)]
            try:
                return await _FailedCall(self, call, policy, deadline, record, started_at, first_error).retry()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
                failed = error
        else:
            record.elapsed = self.clock.monotonic() - started_at
            last_call.set(record)
        try:
            raise without_frames(failed)
        finally:
            del failed  # its traceback has this frame: a cycle


@attrs.define(eq=False, repr=False)
class _FailedCall(Generic[T]):
    """The rest of a call after its first attempt has failed."""

    _caller: RetryingCaller
    _call: Call[T]
    _policy: RetryPolicy
    _deadline: Deadline | None
    _record: CallRecord
    _started_at: float
    _first_error: list[ConnectorError]
    """The error of the first attempt, until it is passed to tenacity."""
    _sent: bool = False
    """Whether an attempt before the last one may have done the operation."""
    _spent: int = 0
    """What the last retry took from the quota."""
    _previous_error: ConnectorError | None = None
    """The error of the attempt before this one."""
    _ended_by: str = ""
    """`deadline` or `quota`, if it prevents an attempt that the policy allows."""

    async def retry(self) -> T:
        """Retry as the policy says, and return the result of the attempt that succeeds."""
        should_stop: Any = self._should_stop  # tenacity awaits it, but its types do not say so
        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=should_stop,
            wait=self._wait_strategy(),
            retry=self._retry_strategy(),
            before=self._backdate,
            before_sleep=self._prepare_retry,
            retry_error_callback=self._raise_last,
        )
        try:
            result: T = await retrying(self._attempt)
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
        """Add to the error of the call what its earlier attempts and its record know."""
        error.operation = self._call.operation
        error.sent = error.sent or self._sent
        if isinstance(error, DecodingError):
            error.request_id = error.request_id or self._record.request_id
        self._record.note_failure(error)
        if isinstance(error, DeadlineExceededError) and error.__cause__ is None:
            error.status = getattr(self._previous_error, "status", None)
            error.__cause__ = self._previous_error

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

    async def _attempt(self) -> T:
        if self._first_error:
            raise self._first_error.pop()
        self._record.attempts += 1
        try:
            return await self._call.attempt(self._deadline, self._record)
        except ConnectorError as error:
            failed = error
        raise without_frames(failed)  # hooks and strategies see it as well

    def _backdate(self, state: RetryCallState) -> None:
        # By tenacity's own clock, so that a strategy such as stop_after_delay counts from the first attempt.
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
        conditions: list[Any] = [_IS_CONNECTOR_ERROR, policy.retry or retry_if_transient()]
        if not self._call.idempotent:
            conditions.insert(1, retry_if_not_happened(unavailable_means_refused=policy.unavailable_means_refused))
        return retry_all(*conditions)

    async def _should_stop(self, state: RetryCallState) -> bool:
        policy = self._policy
        attempts = stop_never if policy.attempts is None else stop_after_attempt(policy.attempts)
        if self._caller.is_closed() or (policy.stop or attempts)(state):
            return True
        if stop_above_retry_after(policy.retry_after_max)(state):
            return True
        if self._deadline is not None and stop_before_deadline(self._deadline)(state):
            self._ended_by = "deadline"
            return True
        cost = THROTTLED_RETRY_COST if is_throttled(_error(state)) else RETRY_COST
        if not await self._spend(cost):
            self._ended_by = "quota"
            return True
        self._spent = cost
        return False

    async def _spend(self, cost: int) -> bool:
        quota = self._caller.quota
        if isinstance(quota, RetryQuota):
            return quota.spend(cost)
        try:
            async with asyncio.timeout(None if self._deadline is None else self._deadline.remaining()):
                return await quota.spend(cost)
        except Exception as failure:  # noqa: BLE001 - the error of the last attempt says more, and may have happened
            _log.hook_failure("spend_quota", failure)
            return False

    async def _prepare_retry(self, state: RetryCallState) -> None:
        """Log the retry, call the policy's hook, and throttle the tenant after a 429."""
        error = self._previous_error = _error(state)
        self._sent = self._sent or may_have_happened(error)
        details = RetryDetails(
            operation=self._call.operation,
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
            except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - a hook must not end the call
                _log.hook_failure("on_retry", failure)
        await self._throttle_tenant(state)

    async def _raise_last(self, state: RetryCallState) -> T:
        error = _error(state)
        await self._throttle_tenant(state)
        error.retry_quota_exhausted = self._ended_by == "quota"
        if self._ended_by != "deadline":
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

    async def _throttle_tenant(self, state: RetryCallState) -> None:
        """Send nothing for the tenant during the wait after a 429 without `Retry-After`.

        The session itself throttles the tenant after a response with `Retry-After`.
        """
        error = _error(state)
        if isinstance(error, RateLimitedError) and error.retry_after is None and state.upcoming_sleep > 0:
            try:
                await self._caller.throttle(state.upcoming_sleep)
            except RateLimitStoreError as failure:  # the error of the attempt says more, and may have happened
                _log.hook_failure("penalize", failure)


def _is_penalized(error: ResponseError) -> bool:
    """Return whether nothing is sent for the tenant for a while after this error."""
    return isinstance(error, RateLimitedError) or (is_throttled(error) and error.retry_after is not None)


def _checked(wait: WaitBaseT) -> Callable[[RetryCallState], float]:
    """Return a wait strategy that checks the result of the user's own."""

    def checked_wait(state: RetryCallState) -> float:
        return check_seconds("the result of wait", wait(state), finite=False)

    return checked_wait


_IS_CONNECTOR_ERROR: Final = retry_if_exception_type(ConnectorError)


def _error(state: RetryCallState) -> ConnectorError:
    error = None if state.outcome is None else state.outcome.exception()
    assert isinstance(error, ConnectorError)  # noqa: S101 - _IS_CONNECTOR_ERROR lets no other error through
    return error
