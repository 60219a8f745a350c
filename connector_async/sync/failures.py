"""Why something failed, and whether it can pass. It makes no calls, and knows no state."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import attrs

from connector_async import _log
from connector_async.exceptions import (
    ConnectorError,
    DecodingError,
    ForbiddenError,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    PaginationError,
    ResponseError,
)
from connector_async.protocol import TOKEN_PATH

_MOST_FIELDS: Final = 5
_MOST_CHARACTERS: Final = 200  # of one explanation
_SHORTEST_HIDDEN: Final = 3  # characters
_RETRYABLE_STATUSES: Final = frozenset({408, 423, 425, 429})
_PERMANENT_STATUSES: Final = frozenset({501, 505})
_ON_COLLECTION: Final = frozenset({"create", "preview"})


class HookError(ConnectorError):
    """Raised in place of an error of the application's code. The log has that error; its message may be personal."""

    def __init__(self, hook: str, error: Exception) -> None:
        super().__init__(f"{hook} raised {type(error).__name__}", sent=False)
        _log.hook_failure(hook, error)


class ApplicationError(ConnectorError):
    """Raised in place of an error of a middleware, a token provider or other code of the application in a call.

    Unlike a `HookError`, it may pass: the code may depend on another service. Whether the request was sent is unknown.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=True)


@contextmanager
def containing_errors() -> Iterator[None]:
    """Raise an `ApplicationError` in place of an error of the application's code, which would end the whole run.

    The log has that error; its message may be personal.
    """
    try:
        yield
    except (ConnectorError, InvalidArgumentError):
        raise
    except Exception as error:  # noqa: BLE001 - the application's
        _log.hook_failure("the session", error)
        failure = ApplicationError(f"the session raised {type(error).__name__}")
    else:
        return
    raise failure


@attrs.frozen(kw_only=True)
class Failure:
    """Why a key, a calendar or a tenant could not be synced."""

    key: str = ""
    """The key; empty: the whole calendar."""
    operation: str
    """What failed, such as `create` or `preview`."""
    error: str
    """The class name of the error."""
    reason: str
    """The message of the error, with the server's own explanation, without personal data."""
    status: int | None = None
    """The HTTP status of the response."""
    request_id: str | None = None
    """The request id that the server has given."""

    @classmethod
    def of(cls, error: ConnectorError, *, key: str = "") -> Self:
        """Return the failure that an error is."""
        return cls(
            key=key,
            operation=error.operation or "sync",
            error=type(error).__name__,
            reason=reason_of(error),
            status=getattr(error, "status", None),
            request_id=getattr(error, "request_id", None),
        )


def reason_of(error: Exception) -> str:
    """Return the message of an error with its details in one line.

    These are the server's own explanation (`detail` of RFC 9457 and `errors` of ASP.NET), where a body is malformed,
    and what made a result unknown. A response of the token endpoint is not quoted: it may repeat the client secret.
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, ResponseError) and not error.path.endswith("/".join(TOKEN_PATH)):
        reason += "".join(f"; {words}" for words in _server_words(error.problem or {}))
    if isinstance(error, DecodingError) and error.problems:
        reason += f": {'; '.join(error.problems)}"
    if isinstance(error, OutcomeUnknownError) and error.__cause__ is not None:
        reason += f" ({reason_of(error.__cause__) if isinstance(error.__cause__, Exception) else error.__cause__})"
    return reason


def hide(error: Exception, texts: Iterable[str]) -> None:
    """Remove texts of the record that was sent from the server's explanation: they are personal data.

    Texts of one or two characters stay, since they are parts of other words.
    """
    hidden = sorted((text for text in texts if len(text) >= _SHORTEST_HIDDEN), key=len, reverse=True)
    for each in (error, error.__cause__):
        if isinstance(each, ResponseError) and each.problem is not None:
            each.problem = _without(each.problem, hidden)


def _without(value: Any, texts: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(each, texts) for name, each in value.items()}
    if isinstance(value, list):
        return [_without(each, texts) for each in value]
    if isinstance(value, str):
        for text in texts:
            value = value.replace(text, "[...]")
    return value


def _server_words(problem: Mapping[str, Any]) -> Iterator[str]:
    """Yield the server's explanations, each cut to a line."""
    detail, errors = problem.get("detail"), problem.get("errors")
    if isinstance(detail, str) and detail.strip():
        yield _line(detail)
    if isinstance(errors, dict):
        for field, messages in itertools.islice(errors.items(), _MOST_FIELDS):
            listed = messages if isinstance(messages, list) else [messages]
            yield _line(f"{field}: {', '.join(each for each in listed if isinstance(each, str))}")


def _line(words: str) -> str:
    return "".join(each if each.isprintable() else " " for each in words[:_MOST_CHARACTERS]).strip()


def is_permanent(error: ConnectorError) -> bool:
    """Return whether the same request would get the same response, whenever it is sent.

    That is so with statuses 4xx except for 408, 423, 425 and 429, with 501 and 505 (RFC 9110, section 15), and with a
    response that does not match the contract. Rejected credentials are treated apart, and a malformed response to the
    request for a token, after which nothing was sent, says nothing about the request.
    """
    if isinstance(error, DecodingError):
        return error.sent
    if isinstance(error, PaginationError | HookError):
        return True
    if not isinstance(error, ResponseError):
        return False
    is_client_error = 400 <= error.status < 500 and error.status not in _RETRYABLE_STATUSES
    return is_client_error or error.status in _PERMANENT_STATUSES


def concerns_calendar(error: Exception) -> bool:
    """Return whether a refusal is about the whole calendar: the URL of a create or a preview names no appointment."""
    return isinstance(error, ForbiddenError | NotFoundError) and error.operation in _ON_COLLECTION
