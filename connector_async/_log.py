"""Every line that this package logs, each with all the fields it may hold: nothing else is ever logged.

They go to the logger `connector_async`, which is silent unless the application configures it. The fields of a line are
the record's `args`, by name.
"""

import logging
import re
from typing import Final

from .exceptions import ConnectorError, ResponseError

_logger: Final = logging.getLogger("connector_async")
_logger.addHandler(logging.NullHandler())

_PLAIN: Final = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)


def retry(*, operation: str, tenant: str, attempt: int, wait: float, error: ConnectorError) -> None:
    """An attempt failed, and another one follows."""
    _logger.info(
        "%(operation)s for tenant %(tenant)s: attempt %(attempt)d failed (%(error)s, request %(request_id)s), "
        "the next follows in %(wait).3f s",
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
    """The server throttles: nothing more is sent under this key for so long."""
    _logger.warning("%(key)s is throttled: nothing is sent for %(seconds).3f s", {"key": key, "seconds": seconds})


def lifted_penalty(*, key: str) -> None:
    """A penalty was lifted before its end."""
    _logger.warning("%(key)s is no longer throttled: the penalty was lifted", {"key": key})


def token_refresh(*, tenant: str, lifetime: float) -> None:
    """A token was fetched."""
    _logger.info("tenant %(tenant)s has a new token for %(lifetime).0f s", {"tenant": tenant, "lifetime": lifetime})


def token_refresh_failure(*, tenant: str, retry_in: float, error: BaseException) -> None:
    """A token was to be renewed ahead of its end, and was not: it is used on."""
    _logger.warning(
        "tenant %(tenant)s: the token was not renewed (%(error)s), the old one is used on; the next try is in "
        "%(retry_in).0f s or later",
        {"tenant": tenant, "retry_in": retry_in, "error": _kind(error)},
    )


def skipped_items(*, tenant: str, count: int, request_id: str | None) -> None:
    """Items of a preview are not valid, and were left out as the caller asked."""
    _logger.warning(
        "preview for tenant %(tenant)s: %(count)d invalid items skipped (request %(request_id)s)",
        {"tenant": tenant, "count": count, "request_id": _plain(request_id)},
    )


def hook_failure(hook: str, error: BaseException) -> None:
    """The caller's own hook raised; the traceback is of the caller's code."""
    _logger.error("%(hook)s raised", {"hook": hook}, exc_info=error)


def _kind(error: BaseException) -> str:
    status = f" {error.status}" if isinstance(error, ResponseError) else ""
    return f"{type(error).__name__}{status}"


def _request_id(error: ConnectorError) -> str:
    return _plain(getattr(error, "request_id", None))


def _plain(value: object) -> str:
    # What a server sends may be anything: only what looks like an id is logged.
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else "unknown"
