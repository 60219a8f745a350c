"""The operations on appointments as coroutines, requests to any endpoint, `Watch`, and `Verify` for lost responses.

The session sends the requests, and the retry policy decides when to retry. What single calls do not need is imported at
its first use: the watch, raw responses, windows, and the package of bulk calls.
"""

from typing import TYPE_CHECKING

from connector_async._first_use import first_use

from .service import AppointmentService
from .verification import Verify, found_by_preview

if TYPE_CHECKING:
    from .raw_response import RawResponse, RawResponses
    from .watch import AppointmentEvent, Created, Deleted, Updated, Watch

__all__ = [
    "AppointmentEvent",
    "AppointmentService",
    "Created",
    "Deleted",
    "RawResponse",
    "RawResponses",
    "Updated",
    "Verify",
    "Watch",
    "found_by_preview",
]

__getattr__ = first_use(
    __name__,
    {
        "raw_response": ("RawResponse", "RawResponses"),
        "watch": ("AppointmentEvent", "Created", "Deleted", "Updated", "Watch"),
    },
)
