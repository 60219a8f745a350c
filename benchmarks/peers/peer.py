"""What a contestant is."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final

import attrs

GIVES: Final = ("typed result", "auth", "retry", "deadline", "rate limit")
"""What a client may do for its price; a peer says how."""

TENANT: Final = "acme"
TOKEN: Final = "x" * 300  # as long as a JWT
HEADERS: Final = {"tenantId": TENANT, "Accept": "application/json"}
CONNECTIONS: Final = 100
"""In each pool: as many as aiohttp has by default."""


@attrs.frozen(kw_only=True)
class Draft:
    """What is created."""

    title: str
    start_time: datetime
    end_time: datetime
    description: str

    def body(self) -> dict[str, Any]:
        """Return the JSON body, with its date-times as texts, as who has no converter writes it."""
        return {
            "title": self.title,
            "startTime": self.start_time.isoformat(),
            "endTime": self.end_time.isoformat(),
            "description": self.description,
        }


@attrs.frozen(kw_only=True)
class Calls:
    """Both calls. Each returns the title of the appointment that the server answered."""

    get: Callable[[str], Awaitable[str]]
    create: Callable[[Draft], Awaitable[str]]


@attrs.frozen(kw_only=True)
class Peer:
    """A client."""

    name: str
    gives: Mapping[str, str]
    """Of `GIVES`: how; what is not here it does not give."""
    open: Callable[[str], AbstractAsyncContextManager[Calls]]
    """Takes the base URL, without a slash at its end."""
