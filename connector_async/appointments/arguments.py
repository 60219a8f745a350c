"""The rules for arguments that several operations share."""

from datetime import datetime

from connector_async.deadline import check_seconds
from connector_async.retry import RetryPolicy


def check_aware(name: str, value: datetime | None) -> None:
    """Raise when `value` is no aware date-time, nor `None`.

    Raises:
        ValueError: It has no time zone.
        TypeError: It is of another type.
    """
    if value is None:
        return
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must be aware: it has no time zone")


def checked_policy(retry: RetryPolicy) -> RetryPolicy:
    """Return `retry` when it is a policy.

    Raises:
        TypeError: It is of another type.
    """
    if not isinstance(retry, RetryPolicy):
        raise TypeError(f"retry must be a RetryPolicy or None, not {type(retry).__name__}")
    return retry


def checked_deadline(seconds: float) -> float:
    """Return `seconds` when a deadline can be so far away.

    Raises:
        ValueError: It is not above zero.
        TypeError: It is no number.
    """
    return check_seconds("deadline", seconds, above_zero=True, finite=False)
