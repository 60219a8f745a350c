"""Refusals as RFC 9457 problem details, with ASP.NET's `traceId` and `errors` extensions.

It does not know which request is refused, nor why: a message must come without any value the caller sent.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from attrs import frozen

CONTENT_TYPE: Final = "application/problem+json"

WHOLE_BODY: Final = "$"
"""The name under which ASP.NET lists what is wrong with a body as a whole: the JSON path of its root."""

_INVALID_TITLE: Final = "One or more validation errors occurred."


_RFC9110: Final = "https://tools.ietf.org/html/rfc9110#section-"


@frozen
class _Kind:
    type: str
    title: str


# Not http.HTTPStatus alone: its phrases change between Python versions (413 did in 3.13).
_KINDS: Final[Mapping[int, _Kind]] = {
    400: _Kind(f"{_RFC9110}15.5.1", "Bad Request"),
    401: _Kind(f"{_RFC9110}15.5.2", "Unauthorized"),
    403: _Kind(f"{_RFC9110}15.5.4", "Forbidden"),
    404: _Kind(f"{_RFC9110}15.5.5", "Not Found"),
    405: _Kind(f"{_RFC9110}15.5.6", "Method Not Allowed"),
    413: _Kind(f"{_RFC9110}15.5.14", "Content Too Large"),
    415: _Kind(f"{_RFC9110}15.5.16", "Unsupported Media Type"),
    417: _Kind(f"{_RFC9110}15.5.18", "Expectation Failed"),
    422: _Kind(f"{_RFC9110}15.5.21", "Unprocessable Content"),
    429: _Kind("https://tools.ietf.org/html/rfc6585#section-4", "Too Many Requests"),
    500: _Kind(f"{_RFC9110}15.6.1", "Internal Server Error"),
    502: _Kind(f"{_RFC9110}15.6.3", "Bad Gateway"),
    503: _Kind(f"{_RFC9110}15.6.4", "Service Unavailable"),
    504: _Kind(f"{_RFC9110}15.6.5", "Gateway Timeout"),
}
_PHRASES: Final[Mapping[int, str]] = {status.value: status.phrase for status in HTTPStatus}


def _kind(status: int) -> _Kind:
    """Tell what the problem is; of other statuses, "about:blank" and its phrase (RFC 9457, section 4.2.1)."""
    return _KINDS.get(status) or _Kind("about:blank", _PHRASES.get(status, "Error"))


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem, not an error
    """A refusal on its way to becoming the answer."""

    def __init__(
        self,
        detail: str,
        *,
        status: int = 500,
        title: str | None = None,
        errors: Mapping[str, Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.title = title or _kind(status).title
        self.errors = errors
        self.headers = dict(headers or {})

    def body(self, *, instance: str, trace_id: str) -> dict[str, object]:
        """Build the JSON object of the answer.

        Args:
            instance: The URI reference of the refused request (RFC 9457, section 3.1.5).
            trace_id: The answer's `x-request-id`.
        """
        members: dict[str, object] = {
            "type": _kind(self.status).type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "traceId": trace_id,
        }
        return members if self.errors is None else {**members, "errors": self.errors}


def invalid(errors: Mapping[str, Sequence[str]]) -> Problem:
    """Build the 400 that lists, per field, what is wrong with it."""
    detail = "The request is invalid; see errors."
    return Problem(detail, status=400, title=_INVALID_TITLE, errors=errors)


def unauthorized(detail: str, *, challenge: str = "Bearer") -> Problem:
    """Build the 401 with the challenge that RFC 9110 (section 15.5.2) requires of it."""
    return Problem(detail, status=401, headers={"WWW-Authenticate": challenge})


def revoked() -> Problem:
    """Build the 401 of a bearer token that is no longer good, or never was (RFC 6750, section 3.1)."""
    detail = "The bearer token is invalid, has expired or was revoked."
    return unauthorized(detail, challenge='Bearer error="invalid_token"')


def retry_later(detail: str, *, status: int, retry_after: int | None) -> Problem:
    """Build a refusal that may tell after how many seconds to come again (RFC 9110, section 10.2.3)."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return Problem(detail, status=status, headers=headers)
