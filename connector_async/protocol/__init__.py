"""The rules of the HTTP exchange, without any I/O: what may be sent where, and what an answer means.

It knows neither an HTTP library nor the fields of an appointment.
"""

from .pickled import reduced
from .request import (
    TOKEN_PATH,
    VERSION,
    quote_path,
    user_agent,
)
from .response import Response, error_for, request_id, retry_after

__all__ = [
    "TOKEN_PATH",
    "VERSION",
    "Response",
    "error_for",
    "quote_path",
    "reduced",
    "request_id",
    "retry_after",
    "user_agent",
]
