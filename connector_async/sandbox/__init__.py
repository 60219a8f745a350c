"""A real local HTTP server of the Connector Public API, for tests, demonstrations and offline work.

It is written from the API's documents alone and shares no code with the client, so that one misreading cannot stand
on both sides. It needs the `sandbox` extra (PyJWT and aiosqlite).
"""

from connector_async.sandbox.request_log import LoggedRequest, Operation, RequestLog
from connector_async.sandbox.server import Sandbox
from connector_async.sandbox.tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, TokenReply

__all__ = [
    "DEFAULT_CLIENT_ID",
    "DEFAULT_CLIENT_SECRET",
    "LoggedRequest",
    "Operation",
    "RequestLog",
    "Sandbox",
    "TokenReply",
]
