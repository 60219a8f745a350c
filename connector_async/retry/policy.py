"""`RetryPolicy`: how often, how long and after what to try again, in stamina's words. It makes no calls."""

from collections.abc import Callable
from typing import Any, Self

import attrs
from tenacity.asyncio.retry import RetryBaseT as AsyncRetryBaseT
from tenacity.retry import RetryBaseT
from tenacity.stop import StopBaseT
from tenacity.wait import WaitBaseT

from connector_async._checks import check_plain_callable, check_seconds
from connector_async.exceptions import ConnectorError

from .strategies import check_exp_base, check_strategy


@attrs.frozen(kw_only=True)
class RetryDetails:
    """One retry that is about to be waited for."""

    operation: str
    """What is called: `get`, `create`, `update`, `delete` or `preview`."""
    attempt: int
    """The attempt that failed, from 1."""
    wait: float
    """Seconds until the next attempt; it may then have to wait for its turn under the rate limit."""
    waited_so_far: float
    """Seconds that the call has waited for its retries before."""
    error: ConnectorError
    """Why the attempt failed."""


def _check_attempts(_: object, __: object, value: int | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"attempts must be an int or None, not {type(value).__name__}")
    if value < 1:
        raise ValueError("attempts must be 1 or more")


def _check_wait(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(field.name, value)


def _check_base(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    check_exp_base(field.name, value)


def _check_flag(_: object, field: "attrs.Attribute[bool]", value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{field.name} must be a bool, not {type(value).__name__}")


def _check_callable(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"{field.name} must be callable or None, not {type(value).__name__}")


def _check_plain_callable(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    _check_callable(_, field, value)
    check_plain_callable(field.name, value)


def _check_strategy(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    _check_callable(_, field, value)
    if value is not None:
        check_strategy(field.name, value)


def _check_plain_strategy(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    _check_strategy(_, field, value)
    _check_plain_callable(_, field, value)


def _wait(default: float) -> Any:
    return attrs.field(default=default, validator=_check_wait)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a call is tried again. Each failure of a `get`, `update`, `delete` or `preview` may be: they are idempotent.

    A `create` is tried again only when it cannot have happened. Whatever the policy says, no wait goes beyond the
    call's deadline, and the retries of one tenant share a quota, so that they do not multiply the load of a server
    that fails for long.

    Raises:
        ValueError: A field is out of its range; the message names it.
        TypeError: A field is of another type.
    """

    attempts: int | None = attrs.field(default=3, validator=_check_attempts)
    """How often to try, the first attempt included. `None`: until the deadline or the quota ends it."""
    wait_initial: float = _wait(0.5)
    """Seconds before the second attempt, at most: each wait is drawn evenly from zero to its bound (full jitter)."""
    wait_initial_throttled: float = _wait(2.0)
    """Seconds in place of `wait_initial` after a 429 or 503."""
    wait_max: float = _wait(8.0)
    """Seconds that a drawn wait takes at most, whatever the attempt."""
    wait_exp_base: float = attrs.field(default=2.0, validator=_check_base)
    """By how much the bound of a wait grows with each attempt."""
    retry_after_max: float = _wait(120.0)
    """Seconds that a server's `Retry-After` is heeded for. When it asks for more, the call ends with its error."""
    unavailable_means_refused: bool = attrs.field(default=True, validator=_check_flag)
    """A create that is answered with 503 and `Retry-After` was not done, and is tried again. `False`: its outcome is
    unknown, as it is after a 503 without."""
    stop: StopBaseT | None = attrs.field(default=None, validator=_check_plain_strategy)
    """A strategy of tenacity in place of `attempts`."""
    wait: WaitBaseT | None = attrs.field(default=None, validator=_check_plain_strategy)
    """A strategy of tenacity in place of the drawn waits and of `Retry-After`."""
    retry: RetryBaseT | AsyncRetryBaseT | None = attrs.field(default=None, validator=_check_strategy)
    """A strategy of tenacity in place of the transient failures: transport errors, 408, 429, 500, 502, 503, 504. It is
    asked about errors of this package only, and about a create only when that cannot have happened."""
    on_retry: Callable[[RetryDetails], object] | None = attrs.field(default=None, validator=_check_plain_callable)
    """Called before each wait. What it raises is logged, and changes nothing."""

    @classmethod
    def none(cls) -> Self:
        """Return the policy that makes one attempt."""
        return cls(attempts=1)
