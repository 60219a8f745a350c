"""Every line that this package logs, with all its fields. Nothing else is logged.

The logger is `connector_async`. It is silent unless the application configures it. The fields of a line are the `args`
of the log record, by name.
"""

import logging
import re
from typing import Final

from .exceptions import ConnectorError, ResponseError

_logger: Final = logging.getLogger("connector_async")
_logger.addHandler(logging.NullHandler())

RETRY: Final = (
    "%(operation)s for tenant %(tenant)s: attempt %(attempt)d failed (%(error)s, request %(request_id)s), "
    "the next follows in %(wait).3f s"
)
PENALTY: Final = "%(key)s is throttled: nothing is sent for %(seconds).3f s"
SLOT_WAIT: Final = "%(key)s: a request waits %(seconds).3f s for its rate-limit slot"

_PLAIN: Final = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)


def retry(*, operation: str, tenant: str, attempt: int, wait: float, error: ConnectorError) -> None:
    """Log that an attempt failed and is retried."""
    _logger.info(
        RETRY,
        {
            "operation": operation,
            "tenant": tenant,
            "attempt": attempt,
            "wait": wait,
            "error": _kind(error),
            "request_id": _request_id(error),
        },
    )


def penalty(*, key: str, seconds: float) -> None:
    """Log that the server throttles, and nothing is sent for a number of seconds."""
    _logger.warning(PENALTY, {"key": key, "seconds": seconds})


def slot_wait(*, key: str, seconds: float) -> None:
    """Log that a request starts to wait for its rate-limit slot."""
    _logger.debug(SLOT_WAIT, {"key": key, "seconds": seconds})


def lifted_penalty(*, key: str) -> None:
    """Log that a penalty was lifted before its end."""
    _logger.warning("%(key)s is no longer throttled: the penalty was lifted", {"key": key})


def token_refresh(*, tenant: str, lifetime: float | None) -> None:
    """Log that a token was fetched. `None`: its lifetime is unknown."""
    duration = "until it is refused" if lifetime is None else "for %(lifetime).0f s"
    _logger.info(f"tenant %(tenant)s has a new token {duration}", {"tenant": tenant, "lifetime": lifetime})


def token_refresh_failure(*, tenant: str, retry_in: float, error: BaseException) -> None:
    """Log that a token could not be renewed early, and stays in use."""
    _logger.warning(
        "tenant %(tenant)s: the token was not renewed (%(error)s), the old one stays in use; the next attempt is in "
        "%(retry_in).0f s or later",
        {"tenant": tenant, "retry_in": retry_in, "error": _kind(error)},
    )


def unrecorded_create(*, tenant: str, appointment_id: str) -> None:
    """Log that an appointment was created after another process had taken over its tenant."""
    _logger.warning(
        "tenant %(tenant)s: appointment %(appointment_id)s was created, but another process has taken over the tenant "
        "meanwhile: it may exist twice",
        {"tenant": tenant, "appointment_id": appointment_id},
    )


def token_store_failure(*, tenant: str, problem: str) -> None:
    """Log that the tokens that processes share cannot be read or written, and the process fetches its own."""
    _logger.warning("tenant %(tenant)s: the token is not shared: %(problem)s", {"tenant": tenant, "problem": problem})


def token_store_mismatch(*, tenant: str) -> None:
    """Log that a shared token is replaced, because this process has another key or client secret."""
    _logger.warning(
        "tenant %(tenant)s: the shared token was stored with another key or client secret, and is replaced",
        {"tenant": tenant},
    )


def skipped_items(*, operation: str, tenant: str, count: int, request_id: str | None) -> None:
    """Log that invalid items of a page were skipped, as the caller asked for."""
    _logger.warning(
        "%(operation)s for tenant %(tenant)s: %(count)d invalid items skipped (request %(request_id)s)",
        {"operation": operation, "tenant": tenant, "count": count, "request_id": _plain(request_id)},
    )


def poll_failure(*, tenant: str, retry_in: float, error: ConnectorError) -> None:
    """Log that a poll of a watch failed, or a part of it, and the next poll makes up for it."""
    _logger.warning(
        "watch for tenant %(tenant)s: a request failed (%(error)s, request %(request_id)s), the next poll is in "
        "%(retry_in).0f s",
        {"tenant": tenant, "error": _kind(error), "request_id": _request_id(error), "retry_in": retry_in},
    )


def hook_failure(hook: str, error: BaseException) -> None:
    """Log that a hook of the application raised, with the traceback of the application's code."""
    _logger.error("%(hook)s raised", {"hook": hook}, exc_info=error)


def _kind(error: BaseException) -> str:
    status = f" {error.status}" if isinstance(error, ResponseError) else ""
    return f"{type(error).__name__}{status}"


def _request_id(error: ConnectorError) -> str:
    return _plain(getattr(error, "request_id", None))


def _plain(value: object) -> str:
    # A server can send anything. Only what looks like an id is logged.
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else "unknown"
