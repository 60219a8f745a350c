"""Error responses as RFC 9457 problem details, with ASP.NET's `traceId` and `errors` extensions.

A detail or message never repeats a value from the request.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from attrs import frozen

PROBLEM_CONTENT_TYPE: Final = "application/problem+json"

WHOLE_BODY: Final = "$"
"""The name of the whole body in `errors`: ASP.NET uses the JSON path of the root."""

_INVALID_TITLE: Final = "One or more validation errors occurred."

_RFC9110: Final = "https://tools.ietf.org/html/rfc9110#section-"


@frozen
class _ProblemType:
    uri: str
    title: str


# Not http.HTTPStatus alone: its phrases change between Python versions (413 did in 3.13).
_PROBLEM_TYPES: Final[Mapping[int, _ProblemType]] = {
    400: _ProblemType(f"{_RFC9110}15.5.1", "Bad Request"),
    401: _ProblemType(f"{_RFC9110}15.5.2", "Unauthorized"),
    403: _ProblemType(f"{_RFC9110}15.5.4", "Forbidden"),
    404: _ProblemType(f"{_RFC9110}15.5.5", "Not Found"),
    405: _ProblemType(f"{_RFC9110}15.5.6", "Method Not Allowed"),
    413: _ProblemType(f"{_RFC9110}15.5.14", "Content Too Large"),
    415: _ProblemType(f"{_RFC9110}15.5.16", "Unsupported Media Type"),
    417: _ProblemType(f"{_RFC9110}15.5.18", "Expectation Failed"),
    422: _ProblemType(f"{_RFC9110}15.5.21", "Unprocessable Content"),
    429: _ProblemType("https://tools.ietf.org/html/rfc6585#section-4", "Too Many Requests"),
    500: _ProblemType(f"{_RFC9110}15.6.1", "Internal Server Error"),
    502: _ProblemType(f"{_RFC9110}15.6.3", "Bad Gateway"),
    503: _ProblemType(f"{_RFC9110}15.6.4", "Service Unavailable"),
    504: _ProblemType(f"{_RFC9110}15.6.5", "Gateway Timeout"),
}
_PHRASES: Final[Mapping[int, str]] = {status.value: status.phrase for status in HTTPStatus}


def _problem_type(status: int) -> _ProblemType:
    """Return the type of the status, or "about:blank" with the status phrase (RFC 9457, section 4.2.1)."""
    return _PROBLEM_TYPES.get(status) or _ProblemType("about:blank", _PHRASES.get(status, "Error"))


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem, not an error
    """An error response, raised where the error is found."""

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
        self.title = title or _problem_type(status).title
        self.errors = errors
        self.headers = dict(headers or {})

    def body(self, *, instance: str, trace_id: str) -> dict[str, object]:
        """Return the JSON object of the response.

        Args:
            instance: URI reference of the request (RFC 9457, section 3.1.5).
            trace_id: The response's `x-request-id`.
        """
        members: dict[str, object] = {
            "type": _problem_type(self.status).uri,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "traceId": trace_id,
        }
        return members if self.errors is None else {**members, "errors": self.errors}


def invalid(errors: Mapping[str, Sequence[str]]) -> Problem:
    """Return a 400 that lists the errors of each field."""
    detail = "The request is invalid; see errors."
    return Problem(detail, status=400, title=_INVALID_TITLE, errors=errors)


def unauthorized(detail: str, *, challenge: str = "Bearer") -> Problem:
    """Return a 401 with the challenge that RFC 9110 (section 15.5.2) requires."""
    return Problem(detail, status=401, headers={"WWW-Authenticate": challenge})


def invalid_token() -> Problem:
    """Return the 401 for a bearer token that is not, or no longer, valid (RFC 6750, section 3.1)."""
    detail = "The bearer token is invalid, has expired or was revoked."
    return unauthorized(detail, challenge='Bearer error="invalid_token"')


def retry_later(detail: str, *, status: int, retry_after: int | None) -> Problem:
    """Return a problem with `Retry-After` in seconds (RFC 9110, section 10.2.3), unless it is None."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return Problem(detail, status=status, headers=headers)
