"""What the sandbox answered: the latest requests one by one, and counts of all of them.

It knows no bodies and no headers, so nothing private can be kept here.
"""

from collections import Counter, deque
from typing import Final, Literal

from attrs import frozen

Operation = Literal["create", "delete", "get", "openapi", "preview", "token", "unknown", "update"]
"""What a request asked for; "unknown" when no operation has its path and method."""

_KEPT_ENTRIES: Final = 10_000


@frozen(kw_only=True)
class LoggedRequest:
    """One request and its outcome."""

    method: str
    operation: Operation
    tenant: str
    """First path segment, percent-decoded; empty when there is none or it is not UTF-8."""
    status: int
    """Of the answer; 0 when the connection was closed without one."""
    request_id: str
    """The answer's `x-request-id`, which is also the `traceId` of a problem."""
    fault: str | None = None
    """The name of the fault that hit the request; None: none did."""
    applied: bool = False
    """Whether the operation was done, whatever became of its answer; False when it was refused."""


class RequestLog:
    """The latest requests, and a count of every one since the sandbox was made.

    A request is recorded when its outcome is known, before the answer is written: whoever has read an answer finds it
    counted, and so is an answer nobody waited for.
    """

    def __init__(self, *, keep: int = _KEPT_ENTRIES) -> None:
        self._latest: deque[LoggedRequest] = deque(maxlen=keep)
        self._counts: Counter[tuple[Operation, str, int, str | None]] = Counter()

    @property
    def entries(self) -> tuple[LoggedRequest, ...]:
        """A snapshot of the latest requests, oldest first: 10,000 at most, unless the log was made to keep others."""
        return tuple(self._latest)

    def record(self, entry: LoggedRequest) -> None:
        """Count the request and keep its entry, dropping the oldest one when full."""
        self._latest.append(entry)
        self._counts[entry.operation, entry.tenant, entry.status, entry.fault] += 1

    def count(
        self,
        *,
        operation: Operation | None = None,
        tenant: str | None = None,
        status: int | None = None,
        fault: str | None = None,
    ) -> int:
        """Count the requests that match every filter given, entries dropped since included."""
        wanted = (operation, tenant, status, fault)
        return sum(
            times
            for its, times in self._counts.items()
            if all(one in (None, other) for one, other in zip(wanted, its, strict=True))
        )
