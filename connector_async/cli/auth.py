"""The commands `auth check` and `auth status`: where the credentials are, and whether they work. No secret is shown."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from connector_async._clock import SINGLE_CALL_DEADLINE
from connector_async._timestamps import format_instant
from connector_async.auth import Token
from connector_async.exceptions import DeadlineExceededError
from connector_async.session import ConnectorSession

from .config_sources import read_settings
from .connect import open_session
from .credentials import credential_source
from .options import DEFAULT_CONNECTION, DEFAULT_DISPLAY, ConnectionOptions, DisplayOptions
from .output import Printer

_COLUMNS: Final = ("tenant_id", "base_url", "credentials", "origin", "expires_at")


async def check(
    *, connection: ConnectionOptions = DEFAULT_CONNECTION, display: DisplayOptions = DEFAULT_DISPLAY
) -> None:
    """Fetch a token, and print its tenant and when it expires.

    If the settings hold a token, it is not checked: nothing is sent.
    """
    settings = read_settings(connection.as_settings())
    tenant_id = settings.required("tenant_id")
    printer = Printer(display, _COLUMNS)
    async with open_session(settings, tenant_id) as session:
        token = await fetch_token(session)
    source = credential_source(tenant_id, settings)
    printer.add(
        {
            "tenant_id": tenant_id,
            "base_url": session.base_url,
            "credentials": "token" if source.client_id is None else f"client {source.client_id}",
            "origin": str(source.secret),
            "expires_at": None if token.expires_at is None else _wall_time(token.expires_at),
        }
    )
    printer.end()


def status(*, connection: ConnectionOptions = DEFAULT_CONNECTION, display: DisplayOptions = DEFAULT_DISPLAY) -> None:
    """Print which credentials would be used, and where they are. It reads no secret and sends nothing."""
    settings = read_settings(connection.as_settings())
    tenant_id = settings.required("tenant_id")
    source = credential_source(tenant_id, settings)
    printer = Printer(display, _COLUMNS[:-1])
    printer.add(
        {
            "tenant_id": tenant_id,
            "base_url": settings.get("base_url"),
            "credentials": "token" if source.client_id is None else f"client {source.client_id}",
            "origin": str(source.secret),
        }
    )
    printer.end()


async def fetch_token(session: ConnectorSession) -> Token:
    """Return a token, within the deadline of a single call.

    Raises:
        DeadlineExceededError: If the deadline expires first.
        ConnectorError: If the token request fails.
    """
    deadline = asyncio.timeout(SINGLE_CALL_DEADLINE if session.deadline is None else session.deadline)
    try:
        async with deadline:
            return await session.fetch_token()
    except TimeoutError:
        if not deadline.expired():  # errors of the package can be a TimeoutError, too
            raise
        raise DeadlineExceededError("the deadline expired before a token was fetched") from None


def _wall_time(monotonic: float) -> str:
    left = timedelta(seconds=round(monotonic - time.monotonic()))
    return format_instant(datetime.now(UTC).replace(microsecond=0) + left)
