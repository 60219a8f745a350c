"""The parts of a policy as tenacity strategies, which can also be used alone in an `AsyncRetrying` of your own.

Unlike tenacity's own strategies, they read the `Clock` that they are given, and the errors of this package.
"""

import math
from typing import Final

from tenacity import RetryCallState
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import WaitBaseT, wait_base

from connector_async._checks import check_seconds, check_type
from connector_async._clock import Clock, Deadline, checked_clock
from connector_async.exceptions import InvalidArgumentError

from .classification import is_throttled, is_transient, may_have_happened

_RETRY_AFTER_JITTER: Final = 0.1
_LARGEST_EXPONENT: Final = 64  # far above any cap, and too small to overflow a float


class stop_before_deadline(stop_base):
    """Stop if the next attempt would start at the deadline or after it.

    Raises:
        TypeError: If `deadline` is not a `Deadline`.
    """

    def __init__(self, deadline: Deadline) -> None:
        check_type("deadline", deadline, Deadline)
        self.deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to stop."""
        return self.deadline.remaining() <= retry_state.upcoming_sleep


class stop_above_retry_after(stop_base):
    """Stop if the server asks for a wait of more than `seconds`.

    Raises:
        ValueError: If `seconds` is negative or NaN.
        TypeError: If `seconds` is neither an int nor a float.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_seconds("seconds", seconds, finite=False)

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to stop."""
        wait = _retry_after(retry_state)
        return wait is not None and wait > self.seconds


class wait_backoff(wait_base):
    """Wait for a random time up to `initial * exp_base ** (attempt - 1)` seconds, at most `maximum` (full jitter).

    Args:
        initial: The bound before the second attempt, in seconds.
        initial_throttled: The bound instead of `initial` after 429 or 503, in seconds.
        maximum: The largest bound, in seconds.
        exp_base: The factor by which the bound grows with each attempt.
        clock: The clock with the random source. `None`: the machine's.

    Raises:
        ValueError: If an argument is negative or not finite, or `exp_base` is less than 1.
        TypeError: If an argument has another type.
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
        self.initial = check_seconds("initial", initial)
        self.initial_throttled = check_seconds("initial_throttled", initial_throttled)
        self.maximum = check_seconds("maximum", maximum)
        self.exp_base = check_exp_base("exp_base", exp_base)
        self.clock = checked_clock(clock)

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
    """Wait for as long as the server asks in `Retry-After`, and up to 10 % more.

    The jitter keeps clients that share a limit from returning together.

    Args:
        otherwise: The strategy after an error without `Retry-After`.
        clock: The clock with the random source. `None`: the machine's.

    Raises:
        TypeError: If `otherwise` is not callable, or is a class and not an instance, or `clock` is not a `Clock`.
    """

    def __init__(self, otherwise: WaitBaseT, clock: Clock | None = None) -> None:
        check_strategy("otherwise", otherwise)
        self.otherwise = otherwise
        self.clock = checked_clock(clock)

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        wait = _retry_after(retry_state)
        return self.otherwise(retry_state) if wait is None else with_jitter(wait, self.clock)


class retry_if_transient(retry_base):
    """Retry after a `TransportError`, 408, 429, 500, 502, 503 and 504."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to retry."""
        error = _error(retry_state)
        return error is not None and is_transient(error)


class retry_if_not_happened(retry_base):
    """Retry if the operation cannot have been done: it was never sent, or the server refused it.

    Args:
        unavailable_means_refused: Whether 503 with `Retry-After` refuses it.

    Raises:
        TypeError: If `unavailable_means_refused` is not a bool.
    """

    def __init__(self, *, unavailable_means_refused: bool = True) -> None:
        check_type("unavailable_means_refused", unavailable_means_refused, bool)
        self.unavailable_means_refused = unavailable_means_refused

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Return whether to retry."""
        error = _error(retry_state)
        return error is not None and not may_have_happened(
            error, unavailable_means_refused=self.unavailable_means_refused
        )


def with_jitter(seconds: float, clock: Clock) -> float:
    """Return the wait that a server asked for, prolonged at random by up to 10 %."""
    return seconds * (1 + _RETRY_AFTER_JITTER * clock.random())


def check_exp_base(name: str, value: float) -> float:
    """Return `value`, which must be a factor by which waits can grow.

    Raises:
        ValueError: If `value` is less than 1 or not finite.
        TypeError: If `value` is neither an int nor a float.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 1 <= value < math.inf:
        raise InvalidArgumentError(f"{name} must be 1 or more, and finite", argument=name)
    return value


def check_strategy(name: str, value: object) -> None:
    """Reject anything but an instance of a tenacity strategy, or another callable.

    Raises:
        TypeError: If `value` is not callable, or is a class. A class can be called as well, but the instance that it
            returns would always count as true.
    """
    if isinstance(value, type):
        raise TypeError(f"{name} must be an instance of a strategy, not its class")
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")


def _error(retry_state: RetryCallState) -> BaseException | None:
    return None if retry_state.outcome is None else retry_state.outcome.exception()


def _retry_after(retry_state: RetryCallState) -> float | None:
    seconds = getattr(_error(retry_state), "retry_after", None)
    return seconds if isinstance(seconds, int | float) else None
