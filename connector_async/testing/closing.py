"""Close a session from outside of the event loops that have used it."""

from connector_async.session import ConnectorSession


def close_in_idle_loops(session: ConnectorSession) -> None:
    """Close a session in each event loop that it has connections in, unless that loop is running or closed.

    A loop that lasts for one test has closed them by itself. Others, such as those of a module, are idle between tests.
    """
    for loop in session._state.transport.loops:  # noqa: SLF001 - of this package
        if not loop.is_running() and not loop.is_closed():
            loop.run_until_complete(session.aclose())
