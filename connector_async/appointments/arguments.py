"""The rules for arguments that several operations share."""

from typing import Literal, get_args

from connector_async._checks import check_int, check_plain_methods, check_seconds, check_type
from connector_async.pagination import PagingStyle
from connector_async.retry import RetryPolicy

OnInvalid = Literal["raise", "skip"]
"""What becomes of a page with items that are not valid: an error, or they are left out and reported."""


def check_on_invalid(on_invalid: OnInvalid) -> None:
    """Reject what is not one of `OnInvalid`.

    Raises:
        ValueError: If `on_invalid` is anything else.
    """
    if on_invalid not in get_args(OnInvalid):
        raise ValueError("on_invalid must be 'raise' or 'skip'")


def check_paging(paging: PagingStyle) -> None:
    """Raise when `paging` is no style; the class of one has all of its methods, too.

    Raises:
        TypeError: It is none, or one of its methods is a coroutine function.
    """
    if isinstance(paging, type):
        raise TypeError("paging must be an instance, such as PageNumbers(), not a class")
    check_type("paging", paging, PagingStyle)
    check_plain_methods("paging", paging, "request", "read")


def check_alone(concurrency: int) -> None:
    """Raise when several are to be fetched at a time where there is but one.

    Raises:
        ValueError: `concurrency` is not 1.
        TypeError: It is no int.
    """
    check_int("concurrency", concurrency)
    if concurrency != 1:
        raise ValueError("concurrency must be 1: only windows are fetched several at a time")


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


def check_options(retry: RetryPolicy | None, deadline: float | None) -> None:
    """Raise when a call could not be made with these; `None` is the service's.

    Raises:
        ValueError: `deadline` is not above zero.
        TypeError: One is of another type.
    """
    if retry is not None:
        checked_policy(retry)
    if deadline is not None:
        checked_deadline(deadline)
