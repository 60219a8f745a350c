"""Asyncio client for the Connector Public API: the appointments of many tenants.

What `__all__` lists here, and the modules that the documentation names, are what is promised to stay.
"""

from .appointments import AppointmentService, Verify, found_by_preview
from .auth import CachingTokenProvider, ClientCredentials, Secret, StaticToken, Token, TokenProvider, TokenSend
from .bulk import Bulk, BulkReport, Outcome, ProgressListener, Status, bulk, read_inputs
from .deadline import Clock
from .exceptions import (
    AuthenticationError,
    ConflictError,
    ConnectFailedError,
    ConnectorError,
    DeadlineExceededError,
    DecodingError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    PaginationError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    SyncError,
    TransportError,
    UnexpectedRedirectError,
)
from .models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset
from .pagination import (
    AsyncPager,
    CursorPaging,
    LinkHeader,
    NextLink,
    OffsetLimit,
    OnePage,
    Page,
    PageAnswer,
    PageNumbers,
    PageRequest,
    PagingStyle,
    RecognizedPaging,
)
from .protocol import VERSION
from .ratelimit import MemoryRateLimitStore, RateLimit, RateLimitStore, Reservation
from .retry import CallRecord, RetryDetails, RetryPolicy, RetryQuota, last_call
from .session import ConnectorSession, Traffic, correlation_id
from .wire import WireFormat

__all__ = [
    "UNSET",
    "Appointment",
    "AppointmentService",
    "AppointmentUpdate",
    "AsyncPager",
    "AuthenticationError",
    "Bulk",
    "BulkReport",
    "CachingTokenProvider",
    "CallRecord",
    "ClientCredentials",
    "Clock",
    "ConflictError",
    "ConnectFailedError",
    "ConnectorError",
    "ConnectorSession",
    "CursorPaging",
    "DeadlineExceededError",
    "DecodingError",
    "DirectoryUser",
    "ForbiddenError",
    "InvalidRequestError",
    "LinkHeader",
    "MemoryRateLimitStore",
    "NewAppointment",
    "NextLink",
    "NotFoundError",
    "OffsetLimit",
    "OnePage",
    "Outcome",
    "OutcomeUnknownError",
    "Page",
    "PageAnswer",
    "PageNumbers",
    "PageRequest",
    "PaginationError",
    "PagingStyle",
    "ProgressListener",
    "RateLimit",
    "RateLimitStore",
    "RateLimitedError",
    "RecognizedPaging",
    "RequestTimeoutError",
    "Reservation",
    "ResponseError",
    "RetryDetails",
    "RetryPolicy",
    "RetryQuota",
    "Secret",
    "ServerError",
    "StaticToken",
    "Status",
    "SyncError",
    "Token",
    "TokenProvider",
    "TokenSend",
    "Traffic",
    "TransportError",
    "UnexpectedRedirectError",
    "Unset",
    "Verify",
    "WireFormat",
    "__version__",
    "bulk",
    "correlation_id",
    "found_by_preview",
    "last_call",
    "read_inputs",
]

__version__ = VERSION
