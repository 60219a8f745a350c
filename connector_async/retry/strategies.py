"""What a policy is made of, as tenacity's strategies: each may be used alone, in an `AsyncRetrying` of your own.

Unlike tenacity's own they read the `Clock` that they are given, and the errors of this package.
"""

from typing import Final

from tenacity import RetryCallState
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import WaitBaseT, wait_base

from connector_async.deadline import Clock, Deadline

from .outcomes import is_throttled, is_transient, may_have_happened

_LARGEST_EXPONENT: Final = 64  # far above any cap, and below what overflows a float


class stop_before_deadline(stop_base):
    """Stop when the next attempt would begin at the deadline or after it."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Tell whether to stop."""
        return self.deadline.remaining() <= retry_state.upcoming_sleep


class stop_above_retry_after(stop_base):
    """Stop when the server asks to wait for longer than `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Tell whether to stop."""
        wait = _retry_after(retry_state)
        return wait is not None and wait > self.seconds


class wait_backoff(wait_base):
    """Wait for `initial * exp_base ** (attempt - 1)` seconds, at most for `maximum`, times a draw: full jitter.

    Args:
        initial: Seconds, before the second attempt.
        initial_throttled: Seconds in place of `initial`, after a 429 or 503.
        maximum: Seconds.
        exp_base: By how much the wait grows with each attempt.
        clock: Whose `random` is drawn.
    """

    def __init__(
        self,
        *,
        initial: float = 0.5,
        initial_throttled: float = 2.0,
        maximum: float = 8.0,
        exp_base: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        self.initial = initial
        self.initial_throttled = initial_throttled
        self.maximum = maximum
        self.exp_base = exp_base
        self.clock = clock or Clock()

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        error = _error(retry_state)
        initial = self.initial_throttled if error is not None and is_throttled(error) else self.initial
        exponent = min(retry_state.attempt_number - 1, _LARGEST_EXPONENT)
        try:
            bound = initial * self.exp_base**exponent
        except OverflowError:
            bound = self.maximum
        return min(bound, self.maximum) * self.clock.random()


class wait_retry_after(wait_base):
    """Wait for as long as the server asks in `Retry-After`, or as `otherwise` says when it asks for nothing."""

    def __init__(self, otherwise: WaitBaseT) -> None:
        self.otherwise = otherwise

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        wait = _retry_after(retry_state)
        return self.otherwise(retry_state) if wait is None else wait


class retry_if_transient(retry_base):
    """Retry after a `TransportError`, 408, 429, 500, 502, 503 and 504."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Tell whether to try again."""
        error = _error(retry_state)
        return error is not None and is_transient(error)


class retry_if_not_happened(retry_base):
    """Retry when the operation cannot have been done: it never left, or the server refused it.

    Args:
        unavailable_means_refused: 503 with `Retry-After` is a refusal.
    """

    def __init__(self, *, unavailable_means_refused: bool = True) -> None:
        self.unavailable_means_refused = unavailable_means_refused

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Tell whether to try again."""
        error = _error(retry_state)
        return error is not None and not may_have_happened(
            error, unavailable_means_refused=self.unavailable_means_refused
        )


def _error(retry_state: RetryCallState) -> BaseException | None:
    return None if retry_state.outcome is None else retry_state.outcome.exception()


def _retry_after(retry_state: RetryCallState) -> float | None:
    seconds = getattr(_error(retry_state), "retry_after", None)
    return seconds if isinstance(seconds, int | float) else None
