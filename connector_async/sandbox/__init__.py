"""A real local HTTP server of the Connector Public API, for tests, demonstrations and offline work.

It is written from the API's documents alone and shares no code with the client, so that one misreading cannot stand
on both sides. It needs the `sandbox` extra (PyJWT, aiosqlite, tzlocal and tzdata).
"""

from connector_async.sandbox.faults import (
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
    TruncatedAnswer,
    WrongLength,
    fault_named,
)
from connector_async.sandbox.limits import LimitWindow, SandboxLimit
from connector_async.sandbox.request_log import LoggedRequest, Operation, RequestLog
from connector_async.sandbox.seeding import SEED_AD_ID, SEED_DOMAIN_ID, SeedAppointment, synthetic_seeds
from connector_async.sandbox.server import Sandbox
from connector_async.sandbox.settings import BodyFormat, PreviewPaging, PutSemantics, UnknownId, WriteReply
from connector_async.sandbox.tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, TokenReply

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
    "Operation",
    "PreviewPaging",
    "PutSemantics",
    "RequestLog",
    "RevokedToken",
    "Sandbox",
    "SandboxLimit",
    "SeedAppointment",
    "SlowDrip",
    "StatusFault",
    "TokenReply",
    "TruncatedAnswer",
    "UnknownId",
    "WriteReply",
    "WrongLength",
    "fault_named",
    "synthetic_seeds",
]
