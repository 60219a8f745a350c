"""The session of the fixtures: virtual time stands still while a request is in flight. It is closed from outside."""

from collections.abc import Mapping
from typing import Any, ClassVar

from yarl import URL

from connector_async._clock import Deadline
from connector_async.protocol import Response
from connector_async.session import ConnectorSession
from connector_async.session.transport import Transport

from .virtual_clock import VirtualClock


class _HoldingTransport(Transport):
    clock: VirtualClock

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline | None = None,
    ) -> Response:
        with self.clock.hold():
            return await super().send(method, url, headers, body, deadline)


class _HoldingSession(ConnectorSession):
    _transport: ClassVar[type[Transport]] = _HoldingTransport


def fixture_session(base_url: str, **options: Any) -> ConnectorSession:
    """Return a session whose clock, if it is a virtual one, stands still while a request is in flight.

    Otherwise the requests of concurrent calls would reach a slow server later than they were sent, and so exceed its
    rate limit.
    """
    clock = options["clock"]
    if not isinstance(clock, VirtualClock):
        return ConnectorSession(base_url, **options)
    session = _HoldingSession(base_url, **options)
    transport: Any = session._state.transport  # noqa: SLF001 - of this package
    transport.clock = clock
    return session


def close_in_idle_loops(session: ConnectorSession) -> None:
    """Close a session in each event loop that it has connections in, unless that loop is running or closed.

    A loop that lasts for one test has closed them by itself. Others, such as those of a module, are idle between tests.
    """
    for loop in session._state.transport.loops:  # noqa: SLF001 - of this package
        if not loop.is_running() and not loop.is_closed():
            loop.run_until_complete(session.aclose())
