"""The compared clients: each has a `get` and a `create` for the same server.

Each client has its best legitimate settings, with its own retries and its own way to send a token if it has one. It has
nothing that a program could leave out: no logs, no traces.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final

import attrs

FEATURES: Final = ("typed result", "auth", "retry", "deadline", "rate limit")
"""What a client may do for its price. Each is a column of the table; a peer says how it does it."""

TENANT: Final = "acme"
TOKEN: Final = "x" * 300  # as long as a JWT
HEADERS: Final = {"tenantId": TENANT, "Accept": "application/json"}
CONNECTIONS: Final = 100
"""Connections in each pool: aiohttp's default."""


@attrs.frozen(kw_only=True)
class Draft:
    """The fields of an appointment to create."""

    title: str
    start_time: datetime
    end_time: datetime
    description: str

    def body(self) -> dict[str, Any]:
        """Return the JSON body with date-times as strings, as a program without a converter writes it."""
        return {
            "title": self.title,
            "startTime": self.start_time.isoformat(),
            "endTime": self.end_time.isoformat(),
            "description": self.description,
        }


@attrs.frozen(kw_only=True)
class Calls:
    """Both calls. Each returns the title of the appointment in the response."""

    get: Callable[[str], Awaitable[str]]
    create: Callable[[Draft], Awaitable[str]]


@attrs.frozen(kw_only=True)
class Peer:
    """A client."""

    name: str
    features: Mapping[str, str]
    """Some of `FEATURES` to how the client does it. It does not have the others."""
    open: Callable[[str], AbstractAsyncContextManager[Calls]]
    """Opens the client for a base URL without a trailing slash."""
