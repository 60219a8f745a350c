"""Compare the requests that a sandbox has received with those that a test expects."""

import difflib
from collections import Counter
from collections.abc import Mapping
from typing import Final

from connector_async.sandbox import LoggedRequest, RequestLog

_TOKEN: Final = "token"  # noqa: S105 - the name of an operation


class AssertRequests:
    """Asserts which requests a sandbox has received since it started.

    A request is written as its method and its path below the tenant, such as `GET /appointment`. A status may follow,
    as in `GET /appointment 503`; it is `dropped` if the sandbox closed the connection without a response. Neither
    queries nor bodies are compared or shown.

    Args:
        log: The log of the sandbox.
    """

    def __init__(self, log: RequestLog) -> None:
        self._log = log

    def __call__(
        self,
        *expected: str,
        counts: Mapping[str, int] | None = None,
        tenant: str | None = None,
        tokens: bool = False,
    ) -> None:
        """Assert that these requests were received, in this order, and no others.

        Args:
            expected: The requests.
            counts: How often each request was received, in any order, instead of `expected`.
            tenant: Compare only the requests of this tenant. `None`: of all.
            tokens: Whether the requests for tokens are compared as well.

        Raises:
            AssertionError: If other requests were received. The message shows the difference.
            ValueError: If both `expected` and `counts` are given.
        """
        if expected and counts is not None:
            raise ValueError("expected and counts must not both be given")
        wanted = sorted(Counter(counts).elements()) if counts is not None else list(expected)
        received = [
            _written(entry, wanted)
            for entry in self._log.entries
            if tenant in (None, entry.tenant) and (tokens or entry.operation != _TOKEN)
        ]
        if counts is not None:
            received.sort()
        if received != wanted:
            difference = "\n".join(difflib.ndiff(wanted, received))
            raise AssertionError(f"the sandbox received other requests (- expected, + received):\n{difference}")


def _written(entry: LoggedRequest, wanted: list[str]) -> str:
    """Return the request with its status, or without it if the test expects it so."""
    request = f"{entry.method} {entry.path}"
    with_status = f"{request} {entry.status or 'dropped'}"
    return request if request in wanted and with_status not in wanted else with_status
