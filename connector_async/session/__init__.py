"""The one path that a request takes: its token, its rate-limit slot, the connection, and one replay after a 401.

It knows neither the fields of an appointment nor when to retry.
"""

from .connector_session import ConnectorSession
from .middleware import CallNext, Middleware, OutgoingRequest, Telemetry
from .request_sender import before_each_write, correlation_id
from .tenant import Traffic

__all__ = [
    "CallNext",
    "ConnectorSession",
    "Middleware",
    "OutgoingRequest",
    "Telemetry",
    "Traffic",
    "before_each_write",
    "correlation_id",
]
