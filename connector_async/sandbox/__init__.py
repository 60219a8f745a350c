"""A local HTTP server of the Connector Public API, for tests, demonstrations and offline work.

It is written from the API's documents and shares no code with the client, so that one misreading cannot be on both
sides. It needs the `sandbox` extra (PyJWT, aiosqlite, tzlocal and tzdata).
"""

try:
    import aiosqlite as _aiosqlite  # noqa: F401 - that they are there is all
    import jwt as _jwt  # noqa: F401
    import tzlocal as _tzlocal  # noqa: F401
except ImportError as error:
    message = f"connector_async.sandbox needs {error.name}: pip install 'connector-async[sandbox]'"
    raise ImportError(message, name=error.name) from None

from .faults import (
    FAULT_NAMES,
    DelayFault,
    DropAfter,
    DropBefore,
    Fault,
    FaultRates,
    Faults,
    RevokedToken,
    SlowDrip,
    StatusFault,
    TruncatedResponse,
    WrongLength,
    fault_named,
)
from .rate_limit import LimitWindow, SandboxLimit
from .request_log import LoggedRequest, RequestLog
from .routing import SandboxOperation
from .seeding import SEED_AD_ID, SEED_DOMAIN_ID, SeedAppointment, synthetic_seeds
from .server import Sandbox
from .settings import BodyFormat, PreviewPaging, PutSemantics, TokenResponse, UnknownId, WriteResponse
from .tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET

__all__ = [
    "DEFAULT_CLIENT_ID",
    "DEFAULT_CLIENT_SECRET",
    "FAULT_NAMES",
    "SEED_AD_ID",
    "SEED_DOMAIN_ID",
    "BodyFormat",
    "DelayFault",
    "DropAfter",
    "DropBefore",
    "Fault",
    "FaultRates",
    "Faults",
    "LimitWindow",
    "LoggedRequest",
    "PreviewPaging",
    "PutSemantics",
    "RequestLog",
    "RevokedToken",
    "Sandbox",
    "SandboxLimit",
    "SandboxOperation",
    "SeedAppointment",
    "SlowDrip",
    "StatusFault",
    "TokenResponse",
    "TruncatedResponse",
    "UnknownId",
    "WriteResponse",
    "WrongLength",
    "fault_named",
    "synthetic_seeds",
]
