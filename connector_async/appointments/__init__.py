"""The operations on appointments as coroutines, `Verify`, which looks for a create with a lost response, and `Watch`.

The session sends the requests, and the retry policy decides when to retry.
"""

from .service import AppointmentService
from .verification import Verify, found_by_preview
from .watch import AppointmentEvent, Created, Deleted, Updated, Watch

__all__ = [
    "AppointmentEvent",
    "AppointmentService",
    "Created",
    "Deleted",
    "Updated",
    "Verify",
    "Watch",
    "found_by_preview",
]
