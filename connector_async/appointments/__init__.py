"""The operations on appointments as coroutines, requests to any endpoint, and `Verify` for creates with lost responses.

The session sends the requests, and the retry policy decides when to retry.
"""

from .raw_response import RawResponse, RawResponses
from .service import AppointmentService
from .verification import Verify, found_by_preview

__all__ = [
    "AppointmentService",
    "RawResponse",
    "RawResponses",
    "Verify",
    "found_by_preview",
]
