"""The operations on appointments as coroutines, and the check whether a create whose answer was lost has happened.

How a request is sent is the session's business, and when to try again that of the retry policy.
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
