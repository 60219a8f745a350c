"""The operations on appointments as coroutines, and `Verify`, which looks for a create with a lost response.

The session sends the requests, and the retry policy decides when to retry.
"""

from .json_inputs import appointment_update_from_json, new_appointment_from_json
from .service import AppointmentService
from .verification import Verify, found_by_preview

__all__ = [
    "AppointmentService",
    "Verify",
    "appointment_update_from_json",
    "found_by_preview",
    "new_appointment_from_json",
]
