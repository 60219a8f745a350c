"""Asyncio client SDK for the Connector Public API: the appointments of many tenants.

The names in `__all__` and the modules `exceptions`, `retry`, `sandbox` and `sync` are public. What is where:

    cli/                                       the command `connector-async`
    sync/                                      bulk sync: a source, many tenants, and the state between runs
    appointments/                              `AppointmentService`: operations, verification of creates, windows
    session/                                   `ConnectorSession`: the one path that a request takes
    bulk_calls/                                many calls, a bounded number in flight, one outcome for each input
    auth/  retry/  rate_limit/  pagination/    tokens; policies and the quota; slots and penalties; paging styles
    wire/  protocol/                           bodies to models and back; the rules of HTTP, without I/O
    sandbox/                                   a local server of the API, which imports nothing of the client
    models.py  exceptions.py                   the attrs classes; the error tree
    _clock.py  _timestamps.py  _log.py         the clock and deadlines; date-times; every line that is logged
    _json.py  _files.py                        the one JSON parser; files that are replaced atomically
    _checks.py  _recent.py  _tracebacks.py     argument checks; bounded tables; tracebacks without secrets
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .protocol import VERSION

if TYPE_CHECKING:
    from ._clock import Clock
    from .appointments import (
        AppointmentService,
        Verify,
        appointment_update_from_json,
        found_by_preview,
        new_appointment_from_json,
    )
    from .auth import CachingTokenProvider, ClientCredentials, Secret, StaticToken, Token, TokenProvider, TokenSend
    from .bulk_calls import Bulk, BulkReport, Outcome, ProgressListener, Status, bulk, read_inputs
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
        ThrottledError,
        TransportError,
        UnexpectedRedirectError,
    )
    from .models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset
    from .pagination import (
        AsyncPager,
        AutoDetectPaging,
        CursorPaging,
        LinkHeader,
        NextLink,
        OffsetLimit,
        OnePage,
        Page,
        PageNumbers,
        PageRequest,
        PageResponse,
        PagingStyle,
    )
    from .rate_limit import MemoryRateLimitStore, Priority, RateLimit, RateLimitStore, Reservation, priority
    from .retry import CallRecord, RetryDetails, RetryPolicy, RetryQuota, last_call
    from .session import ConnectorSession, Traffic, correlation_id
    from .wire import WireFormat

_HOMES: Final = (
    "exceptions",
    "models",
    "_clock",
    "protocol",
    "rate_limit",
    "retry",
    "bulk_calls",
    "pagination",
    "wire",
    "auth",
    "session",
    "appointments",
)

__all__ = [
    "UNSET",
    "Appointment",
    "AppointmentService",
    "AppointmentUpdate",
    "AsyncPager",
    "AuthenticationError",
    "AutoDetectPaging",
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
    "PageNumbers",
    "PageRequest",
    "PageResponse",
    "PaginationError",
    "PagingStyle",
    "Priority",
    "ProgressListener",
    "RateLimit",
    "RateLimitStore",
    "RateLimitedError",
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
    "ThrottledError",
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
    "appointment_update_from_json",
    "bulk",
    "correlation_id",
    "found_by_preview",
    "last_call",
    "new_appointment_from_json",
    "priority",
    "read_inputs",
]

__version__ = VERSION


def __getattr__(name: str) -> Any:
    """Load what has a public name when it is first asked for: the command line shows its help without aiohttp."""
    if name in __all__:
        for home in _HOMES:
            found = getattr(import_module(f"{__name__}.{home}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
