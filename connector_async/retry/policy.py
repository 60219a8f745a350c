"""`RetryPolicy`: how often, how long and after which failures to retry, in stamina's terms. It makes no calls."""

from collections.abc import Callable
from typing import Any, Final, Self

import attrs
from tenacity.asyncio.retry import RetryBaseT as AsyncRetryBaseT
from tenacity.retry import RetryBaseT
from tenacity.stop import StopBaseT
from tenacity.wait import WaitBaseT

from connector_async._checks import (
    check_callable,
    check_int,
    check_plain_callable,
    check_seconds,
    check_type,
    validator,
)
from connector_async.exceptions import ConnectorError

from .strategies import check_exp_base, check_strategy


@attrs.frozen(kw_only=True)
class RetryDetails:
    """One retry, before its wait starts."""

    operation: str
    """`get`, `create`, `update`, `delete` or `preview`."""
    attempt: int
    """The number of the attempt that failed; the first is 1."""
    wait: float
    """Seconds until the next attempt, which may then have to wait for a rate-limit slot."""
    waited_so_far: float
    """Seconds that the call has waited for its earlier retries."""
    error: ConnectorError
    """The error of the attempt."""


_IS_STRATEGY: Final = validator(check_strategy, optional=True)
_IS_PLAIN: Final = validator(check_plain_callable, optional=True)


def _seconds(default: float) -> Any:
    return attrs.field(default=default, validator=validator(check_seconds))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a call is retried.

    `get`, `update`, `delete` and `preview` are idempotent: each of their failures may be retried. A `create` is retried
    only when it cannot have happened. Whatever the policy says, no wait ends after the call's deadline, and the retries
    of one tenant share a quota, so that they do not multiply the load of a server that fails for long.

    Raises:
        ValueError: If a field is out of its range. The message names the field.
        TypeError: If a field has another type. The message names the field.
    """

    attempts: int | None = attrs.field(default=3, validator=validator(check_int, optional=True))
    """The most attempts, the first one included. `None`: until the deadline or the quota ends the call."""
    wait_initial: float = _seconds(0.5)
    """Most seconds before the second attempt. Each wait is drawn evenly from zero to its bound (full jitter)."""
    wait_initial_throttled: float = _seconds(2.0)
    """Seconds instead of `wait_initial` after 429 or 503."""
    wait_max: float = _seconds(8.0)
    """Most seconds of a drawn wait, whatever the attempt."""
    wait_exp_base: float = attrs.field(default=2.0, validator=validator(check_exp_base))
    """The factor by which the bound of the wait grows with each attempt."""
    retry_after_max: float = _seconds(120.0)
    """The longest `Retry-After` that is honored, in seconds. If the server asks for more, the call ends with its
    error."""
    unavailable_means_refused: bool = attrs.field(default=True, validator=validator(check_type, bool))
    """Whether 503 with `Retry-After` means that a create was not done, so that it is retried. `False`: its outcome is
    unknown, as it is after 503 without `Retry-After`."""
    stop: StopBaseT | None = attrs.field(default=None, validator=[_IS_STRATEGY, _IS_PLAIN])
    """A tenacity strategy instead of `attempts`."""
    wait: WaitBaseT | None = attrs.field(default=None, validator=[_IS_STRATEGY, _IS_PLAIN])
    """A tenacity strategy instead of the drawn waits and of `Retry-After`."""
    retry: RetryBaseT | AsyncRetryBaseT | None = attrs.field(default=None, validator=_IS_STRATEGY)
    """A tenacity strategy instead of the transient failures: transport errors, 408, 429, 500, 502, 503, 504. It is
    asked only about errors of this package, and about a create only when the create cannot have happened."""
    on_retry: Callable[[RetryDetails], object] | None = attrs.field(
        default=None, validator=[validator(check_callable, optional=True), _IS_PLAIN]
    )
    """Called before each wait. If it raises, that is logged and changes nothing."""

    @classmethod
    def none(cls) -> Self:
        """Return the policy that makes one attempt."""
        return cls(attempts=1)
