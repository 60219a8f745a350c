"""Sessions and services over a server of the tests, and the usual responses of that server."""

import asyncio
import re
import weakref
from pathlib import Path
from typing import Any

import orjson

from connector_async import (
    AppointmentService,
    AutoDetectPaging,
    ConnectorSession,
    DirectoryUser,
    NewAppointment,
    PagingStyle,
    RateLimit,
    RetryPolicy,
    StaticToken,
)
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, http

FIELDS = {
    "appointmentId": "123",
    "title": "Meeting with Client",
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "description": "Quarterly review meeting",
}
FOUND = http(200, orjson.dumps(FIELDS), X_Request_Id="r-1")
CREATED = http(201, b'{"appointmentId":"123"}')
PREVIEW = http(200, orjson.dumps([FIELDS]))
TOKEN_RESPONSE = http(200, b'{"accessToken":"t","expiresIn":3600}')

IDEMPOTENT = ("get", "update", "delete", "preview")
OPERATIONS = (*IDEMPOTENT, "create")

_OPENED: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[ConnectorSession]] = weakref.WeakKeyDictionary()


def open_session(server: HostileServer, **options: Any) -> ConnectorSession:
    """Return a session with a static token and without a rate limit, unless the options say otherwise."""
    arguments: dict[str, Any] = {
        "tenant_id": "acme",
        "auth": StaticToken("hunter2"),
        "rate_limit": RateLimit.unlimited(),
    }
    return ConnectorSession(server.base_url, **arguments | options)


def open_service(
    server: HostileServer | str,
    *,
    user: DirectoryUser | None = None,
    paging: PagingStyle | None = None,
    retry: RetryPolicy | None = None,
    **options: Any,
) -> AppointmentService:
    """Return a service whose waits take no time and that has no rate limit, unless the options say otherwise."""
    arguments: dict[str, Any] = {
        "tenant_id": "acme",
        "auth": StaticToken("hunter2"),
        "rate_limit": RateLimit.unlimited(),
        "clock": ManualClock(),
    }
    base_url = server if isinstance(server, str) else server.base_url
    session = ConnectorSession(base_url, **arguments | options)
    # Kept until its loop shuts down, which closes it. If it were collected earlier, aiohttp would warn.
    _OPENED.setdefault(asyncio.get_running_loop(), []).append(session)
    return AppointmentService(session, user=user, paging=paging or AutoDetectPaging(), retry=retry)


async def call(service: AppointmentService, operation: str, draft: NewAppointment, **options: Any) -> object:
    """Call one operation of a service."""
    if operation == "preview":
        return [appointment async for appointment in service.preview(**options)]
    if operation == "create":
        return await service.create(draft, **options)
    if operation == "update":
        return await service.update("123", title="Other", **options)
    return await getattr(service, operation)("123", **options)


def resident_megabytes(field: str = "VmRSS") -> float:
    """Return the memory of this process, in MB; `VmHWM` is its peak."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1_000
