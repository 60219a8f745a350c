"""Refusals as RFC 9457 problem details, with ASP.NET's `traceId` and `errors` extensions.

It does not know which request is refused, nor why: a message must come without any value the caller sent.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

CONTENT_TYPE: Final = "application/problem+json"

WHOLE_BODY: Final = "$"
"""The name under which ASP.NET lists what is wrong with a body as a whole: the JSON path of its root."""

_INVALID_TITLE: Final = "One or more validation errors occurred."


@frozen
class _Kind:
    section: str
    title: str


# Not http.HTTPStatus: its phrases change between Python versions (413 did in 3.13).
_KINDS: Final[Mapping[int, _Kind]] = {
    400: _Kind("15.5.1", "Bad Request"),
    401: _Kind("15.5.2", "Unauthorized"),
    403: _Kind("15.5.4", "Forbidden"),
    404: _Kind("15.5.5", "Not Found"),
    405: _Kind("15.5.6", "Method Not Allowed"),
    413: _Kind("15.5.14", "Content Too Large"),
    415: _Kind("15.5.16", "Unsupported Media Type"),
    417: _Kind("15.5.18", "Expectation Failed"),
    500: _Kind("15.6.1", "Internal Server Error"),
}


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
        self.title = title or _KINDS[status].title
        self.errors = errors
        self.headers = dict(headers or {})

    def body(self, *, instance: str, trace_id: str) -> dict[str, object]:
        """Build the JSON object of the answer.

        Args:
            instance: The URI reference of the refused request (RFC 9457, section 3.1.5).
            trace_id: The answer's `x-request-id`.
        """
        members: dict[str, object] = {
            "type": f"https://tools.ietf.org/html/rfc9110#section-{_KINDS[self.status].section}",
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
