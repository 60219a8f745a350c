"""Asyncio client SDK for the Connector Public API: the appointments of many tenants.

Public are the names in `__all__`, and the modules `exceptions`, `otel`, `rate_limit`, `retry`, `sandbox`, `sync` and
`testing`. The map:

    cli/  __main__.py                          the command `connector-async`
    testing/                                   a pytest plugin, a fake service, a sandbox in a thread, a virtual clock
    sync/                                      bulk sync: a source, many tenants, and the state between runs
    otel.py                                    OpenTelemetry: spans and metrics, loaded only on request
    appointments/                              `AppointmentService`: operations, any endpoint, verification, watch
    session/                                   `ConnectorSession`: the one path of every request
    bulk_calls/                                many calls, a bounded number in flight, one outcome for each input
    auth/  retry/  rate_limit/  pagination/    tokens; policies and quota; slots and penalties; paging styles
    wire/  protocol/                           models and JSON bodies; the rules of HTTP, without I/O
    sandbox/                                   a local server of the API, which shares no code with the client
    models.py  exceptions.py  http_status.py   attrs classes; the error tree; its HTTP statuses for a web service
    _clock.py  _timestamps.py  _log.py         the clock and deadlines; date-times; every line that is logged
    _json.py  _files.py                        the JSON parser; files that are replaced atomically
    _json_form.py  _pydantic.py  _unset.py     models in the JSON of applications, and in pydantic; fields not set
    _checks.py  _recent.py  _tracebacks.py     argument checks; bounded tables; tracebacks without secrets
    _first_use.py  _version.py                 names that are imported at their first use; the version
    _shared_lock.py                            the lock of quotas and of counted waits
    _postgres.py  _remote_store.py             statements in PostgreSQL; clients of a store in each event loop
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._clock import Clock
    from .appointments import (
        AppointmentEvent,
        AppointmentService,
        Created,
        Deleted,
        RawResponse,
        RawResponses,
        Updated,
        Verify,
        Watch,
        found_by_preview,
    )
    from .auth import (
        CachingTokenProvider,
        ClientCredentials,
        Secret,
        StaticToken,
        Token,
        TokenFromCallable,
        TokenFromCommand,
        TokenFromFile,
        TokenProvider,
        TokenSend,
    )
    from .bulk_calls import Bulk, BulkReport, Outcome, ProgressListener, Status, bulk, read_inputs
    from .exceptions import (
        AuthenticationError,
        ConflictError,
        ConnectFailedError,
        ConnectorError,
        DeadlineExceededError,
        DecodingError,
        ForbiddenError,
        InvalidArgumentError,
        InvalidRequestError,
        NotFoundError,
        OutcomeUnknownError,
        PaginationError,
        RateLimitedError,
        RateLimitStoreError,
        RequestTimeoutError,
        ResponseError,
        ServerError,
        SyncError,
        ThrottledError,
        TokenUnavailableError,
        TransportError,
        UnexpectedRedirectError,
    )
    from .http_status import http_headers_for, http_status_for
    from .models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset, to_columns
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
    from .protocol import Response
    from .rate_limit import MemoryRateLimitStore, Priority, RateLimit, RateLimitStore, Reservation, priority
    from .retry import CallRecord, RetryDetails, RetryPolicy, RetryQuota, last_call
    from .session import (
        CallNext,
        ConnectorSession,
        Middleware,
        OutgoingRequest,
        Telemetry,
        Traffic,
        correlation_id,
    )
    from .wire import WireFormat

    __version__: str

_MODULES: Final = (
    "exceptions",
    "models",
    "_clock",
    "protocol",
    "rate_limit",
    "retry",
    "wire",
    "auth",
    "session",
    "appointments",
    "pagination",
    "bulk_calls",
    "http_status",
)
"""Where the public names are, those that most programs need first."""

__all__ = [
    "UNSET",
    "Appointment",
    "AppointmentEvent",
    "AppointmentService",
    "AppointmentUpdate",
    "AsyncPager",
    "AuthenticationError",
    "AutoDetectPaging",
    "Bulk",
    "BulkReport",
    "CachingTokenProvider",
    "CallNext",
    "CallRecord",
    "ClientCredentials",
    "Clock",
    "ConflictError",
    "ConnectFailedError",
    "ConnectorError",
    "ConnectorSession",
    "Created",
    "CursorPaging",
    "DeadlineExceededError",
    "DecodingError",
    "Deleted",
    "DirectoryUser",
    "ForbiddenError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "LinkHeader",
    "MemoryRateLimitStore",
    "Middleware",
    "NewAppointment",
    "NextLink",
    "NotFoundError",
    "OffsetLimit",
    "OnePage",
    "Outcome",
    "OutcomeUnknownError",
    "OutgoingRequest",
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
    "RateLimitStoreError",
    "RateLimitedError",
    "RawResponse",
    "RawResponses",
    "RequestTimeoutError",
    "Reservation",
    "Response",
    "ResponseError",
    "RetryDetails",
    "RetryPolicy",
    "RetryQuota",
    "Secret",
    "ServerError",
    "StaticToken",
    "Status",
    "SyncError",
    "Telemetry",
    "ThrottledError",
    "Token",
    "TokenFromCallable",
    "TokenFromCommand",
    "TokenFromFile",
    "TokenProvider",
    "TokenSend",
    "TokenUnavailableError",
    "Traffic",
    "TransportError",
    "UnexpectedRedirectError",
    "Unset",
    "Updated",
    "Verify",
    "Watch",
    "WireFormat",
    "__version__",
    "bulk",
    "correlation_id",
    "found_by_preview",
    "http_headers_for",
    "http_status_for",
    "last_call",
    "priority",
    "read_inputs",
    "to_columns",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562), so that the command line shows its help without aiohttp."""
    if name == "__version__":
        return import_module(f"{__name__}._version").VERSION
    if name in __all__:
        for module in _MODULES:
            value = getattr(import_module(f"{__name__}.{module}"), name, None)
            if value is not None:
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
