"""What a failure says about the operation: whether to try again helps, and whether it may have happened.

Pure functions over the error tree; they know no policy.
"""

from typing import Final

from connector_async.exceptions import OutcomeUnknownError, ResponseError, TransportError

TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
"""The statuses after which the same request may succeed later."""

THROTTLED_STATUSES: Final = frozenset({429, 503})
"""The statuses of a server that has too much to do (RFC 6585, section 4; RFC 9110, section 15.6.4)."""


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed later."""
    if isinstance(error, OutcomeUnknownError):
        return error.absent
    return isinstance(error, TransportError) or (
        isinstance(error, ResponseError) and error.status in TRANSIENT_STATUSES
    )


def is_throttled(error: BaseException) -> bool:
    """Tell whether the server has too much to do: 429 or 503."""
    return isinstance(error, ResponseError) and error.status in THROTTLED_STATUSES


def may_have_happened(error: BaseException, *, unavailable_means_refused: bool = True) -> bool:
    """Tell whether the operation may have been done although its call failed.

    What refuses is 4xx, 501, 307 and 308 (RFC 9110, section 15.4: the same request is wanted elsewhere).

    Args:
        error: The failure.
        unavailable_means_refused: 503 refuses, too, when `Retry-After` asks to come again.
    """
    sent = getattr(error, "sent", True)
    if isinstance(error, OutcomeUnknownError):
        return not error.absent
    if not sent or not isinstance(error, ResponseError):
        return bool(sent)
    refused = 400 <= error.status < 500 or error.status in {307, 308, 501}
    unavailable = unavailable_means_refused and error.status == 503 and error.retry_after is not None
    return not (refused or unavailable)
