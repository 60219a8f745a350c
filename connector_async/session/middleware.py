"""What an application puts around its requests: middleware, and telemetry. Both see a request, but never its token.

Nothing is sent here; see `middleware_chain`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Protocol, Self, runtime_checkable

import attrs

from connector_async._checks import check_headers, check_iterable, check_type, validator
from connector_async.protocol import Response


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(check_headers("headers", headers))


@attrs.frozen(kw_only=True, eq=False)
class OutgoingRequest:
    """A request that is about to be sent. A middleware may pass on a copy with other headers or another body.

    Raises:
        ValueError: If `headers` has a name that the SDK sets itself, or that is not an HTTP token, or a value that is
            not printable ASCII.
        TypeError: If `headers` is not a mapping of str, or `body` is neither bytes nor `None`.
    """

    method: str
    """The HTTP method."""
    url: str = attrs.field(repr=False)
    """The whole URL. It may hold an appointment's id."""
    template: str | None
    """The path with names instead of values, such as `/{tenantId}/appointment`. `None`: a path that the SDK does not
    model."""
    tenant_id: str
    """The tenant."""
    operation: str | None
    """The operation, such as `get`; `token` for a token request; `None` for a session's `request`."""
    attempt: int
    """The number of the attempt at the call; the first is 1."""
    headers: Mapping[str, str] = attrs.field(repr=False, converter=_checked_headers)
    """The extra headers of the session and of the call. Those that the SDK sets itself, such as the token, are added
    when the request is sent."""
    body: bytes | None = attrs.field(default=None, repr=False, validator=validator(check_type, bytes, optional=True))
    """JSON, if there is a body. It may hold personal data."""

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Return a copy with these headers in addition. They take precedence over those of the same name.

        Raises:
            ValueError: If a header breaks its rule; see above.
            TypeError: If `headers` is not a mapping of str.
        """
        return attrs.evolve(self, headers=merged(self.headers, check_headers("headers", headers)))


CallNext = Callable[[OutgoingRequest], Awaitable[Response]]
"""Sends a request, through the rest of the middleware, and returns its response of any status."""

Middleware = Callable[[OutgoingRequest, CallNext], Awaitable[Response]]
"""An async callable around each attempt, inside the retries. It returns a response, mostly that of `call_next`."""


@runtime_checkable
class Telemetry(Protocol):
    """Watches a session. `connector_async.otel.OpenTelemetry` is one.

    Its methods must not raise anything of their own.
    """

    def call(self, operation: str, tenant_id: str) -> AbstractContextManager[object]:
        """Return a context manager around one call of a service. At its end, `last_call` has the call's record."""
        ...

    async def request(self, request: OutgoingRequest, call_next: CallNext) -> Response:
        """Send one request by `call_next`, which takes no rate-limit slot: the request has it already.

        Each attempt, replay after a 401 and token request comes here. The body of a token request is not shown.
        """
        ...

    def waited(self, tenant_id: str, seconds: float) -> None:
        """Note that a request waited for its rate-limit slot."""
        ...


def check_middlewares(middlewares: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Return `middlewares`, which must be callables.

    Raises:
        TypeError: If it is not iterable, or one of them is not callable, or is a class.
    """
    check_iterable("middlewares", middlewares)
    checked = tuple(middlewares)
    for middleware in checked:
        if isinstance(middleware, type) or not callable(middleware):
            got = f"the class {middleware.__name__}" if isinstance(middleware, type) else type(middleware).__name__
            raise TypeError(f"middlewares must be async callables, not {got}")
    return checked


def merged(headers: Mapping[str, str], over: Mapping[str, str]) -> dict[str, str]:
    """Return `headers` and those of `over`, which take precedence whatever their case."""
    names = {name.lower() for name in over}
    return {name: value for name, value in headers.items() if name.lower() not in names} | dict(over)
