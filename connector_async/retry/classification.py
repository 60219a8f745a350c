"""What a failure says about the operation: whether a retry can help, and whether the operation may have happened.

Pure functions over the error tree. They know no policy.
"""

from typing import Final

from connector_async.exceptions import OutcomeUnknownError, ResponseError, TransportError

TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
"""The statuses after which the same request may succeed later."""

THROTTLED_STATUSES: Final = frozenset({429, 503})
"""The statuses of an overloaded server (RFC 6585, section 4; RFC 9110, section 15.6.4)."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    if isinstance(error, OutcomeUnknownError):
        return error.absent
    return isinstance(error, TransportError) or (
        isinstance(error, ResponseError) and error.status in TRANSIENT_STATUSES
    )


def is_throttled(error: BaseException) -> bool:
    """Return whether the server is overloaded: 429 or 503."""
    return isinstance(error, ResponseError) and error.status in THROTTLED_STATUSES


def may_have_happened(error: BaseException, *, unavailable_means_refused: bool = True) -> bool:
    """Return whether the operation may have been done although the call failed.

    The statuses that refuse it are 4xx, 501, 307 and 308 (RFC 9110, section 15.4: the same request belongs elsewhere).

    Args:
        error: The failure.
        unavailable_means_refused: Whether 503 with `Retry-After` refuses it, too.
    """
    sent = getattr(error, "sent", True)
    if isinstance(error, OutcomeUnknownError):
        return not error.absent
    if not sent or not isinstance(error, ResponseError):
        return bool(sent)
    unavailable = unavailable_means_refused and error.status == 503 and error.retry_after is not None
    return not (is_refusal(error.status) or unavailable)


def is_refusal(status: int) -> bool:
    """Return whether a status says that the operation was not done. 503 may say so as well, with `Retry-After`."""
    return 400 <= status < 500 or status in {307, 308, 501}
