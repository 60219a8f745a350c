"""The rules of HTTP, without any I/O: how a request is addressed, and what a response means.

It knows neither an HTTP library nor the fields of an appointment.
"""

from .pickled import reduced
from .request import TOKEN_PATH, quote_path, quote_segment, user_agent
from .response import Response, error_for, request_id, retry_after

__all__ = [
    "TOKEN_PATH",
    "Response",
    "error_for",
    "quote_path",
    "quote_segment",
    "reduced",
    "request_id",
    "retry_after",
    "user_agent",
]
