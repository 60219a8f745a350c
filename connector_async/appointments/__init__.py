"""The operations on appointments as coroutines, requests to any endpoint, `Watch`, and `Verify` for lost responses.

The session sends the requests, and the retry policy decides when to retry.
"""

from .raw_response import RawResponse, RawResponses
from .service import AppointmentService
from .verification import Verify, found_by_preview
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
