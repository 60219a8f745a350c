"""Asyncio client for the Connector Public API: the appointments of many tenants.

What `__all__` lists here, and the modules that the documentation names, are what is promised to stay.
"""

from .appointments import AppointmentService
from .auth import ClientCredentials, Secret, StaticToken, Token, TokenProvider, TokenSend
from .deadline import Clock
from .exceptions import (
    AuthenticationError,
    ConflictError,
    ConnectFailedError,
    ConnectorError,
    DecodingError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    TransportError,
    UnexpectedRedirectError,
)
from .models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset
from .pagination import AsyncPager, Page
from .protocol import VERSION
from .session import ConnectorSession, correlation_id
from .wire import WireFormat

__all__ = [
    "UNSET",
    "Appointment",
    "AppointmentService",
    "AppointmentUpdate",
    "AsyncPager",
    "AuthenticationError",
    "ClientCredentials",
    "Clock",
    "ConflictError",
    "ConnectFailedError",
    "ConnectorError",
    "ConnectorSession",
    "DecodingError",
    "DirectoryUser",
    "ForbiddenError",
    "InvalidRequestError",
    "NewAppointment",
    "NotFoundError",
    "OutcomeUnknownError",
    "Page",
    "RateLimitedError",
    "RequestTimeoutError",
    "ResponseError",
    "Secret",
    "ServerError",
    "StaticToken",
    "Token",
    "TokenProvider",
    "TokenSend",
    "TransportError",
    "UnexpectedRedirectError",
    "Unset",
    "WireFormat",
    "__version__",
    "correlation_id",
]

__version__ = VERSION
