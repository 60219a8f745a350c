"""The log of a sandbox: the latest requests one by one, and counts of all requests.

It holds no bodies and no headers, and so nothing private.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from attrs import frozen

from .routing import SandboxOperation

_KEPT_ENTRIES: Final = 10_000


@frozen(kw_only=True)
class LoggedRequest:
    """One request and its outcome."""

    method: str
    path: str
    """Raw path below the tenant, without the query."""
    operation: SandboxOperation
    tenant: str
    """First path segment, percent-decoded; empty if it is missing or not UTF-8."""
    status: int
    """Status of the response; 0 if the connection was closed without one."""
    request_id: str
    """The response's `x-request-id`, which is also the `traceId` of a problem."""
    fault: str | None = None
    """Name of the fault that hit the request, if any."""
    applied: bool = False
    """Whether the operation ran successfully, even if its response was lost."""


class RequestLog:
    """The latest requests, and a count of all requests since the sandbox was created.

    A request is logged when its outcome is known, before its response is sent. So a client that has read a response
    finds it in the log, and responses that no client waited for are logged too.
    """

    def __init__(self, *, keep: int = _KEPT_ENTRIES) -> None:
        self._latest: deque[LoggedRequest] = deque(maxlen=keep)
        self._counts: Counter[tuple[SandboxOperation, str, int, str | None]] = Counter()
        self._listeners: list[Callable[[LoggedRequest], None]] = []

    @property
    def entries(self) -> tuple[LoggedRequest, ...]:
        """A snapshot of the latest requests, oldest first; at most 10,000 unless `keep` says otherwise."""
        return tuple(self._latest)

    def record(self, entry: LoggedRequest) -> None:
        """Add an entry and count it; the oldest entry is dropped when the log is full."""
        self._latest.append(entry)
        self._counts[entry.operation, entry.tenant, entry.status, entry.fault] += 1
        for listener in self._listeners:
            listener(entry)

    def add_listener(self, listener: Callable[[LoggedRequest], None]) -> None:
        """Call a function with each further entry when it is added. It must not raise."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[LoggedRequest], None]) -> None:
        """Call a function no longer."""
        self._listeners.remove(listener)

    def count(
        self,
        *,
        operation: SandboxOperation | None = None,
        tenant: str | None = None,
        status: int | None = None,
        fault: str | None = None,
    ) -> int:
        """Count the requests that match every given filter, including entries that were dropped from the log."""
        filters = (operation, tenant, status, fault)
        return sum(
            count
            for logged, count in self._counts.items()
            if all(wanted in (None, value) for wanted, value in zip(filters, logged, strict=True))
        )
