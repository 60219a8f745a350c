"""The command `auth check`: whether the credentials are good for a token. The token itself is never shown."""

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
from .exit_codes import ExitCode
from .options import TABLE, UNCONNECTED, Connection, Display
from .output import Printer

_COLUMNS: Final = ("tenant_id", "base_url", "credentials", "origin", "expires_at")


async def check(*, connection: Connection = UNCONNECTED, display: Display = TABLE) -> ExitCode:
    """Fetch a token, and print for which tenant it is and when it expires.

    A token that is given is taken as it is, and nothing is sent.
    """
    settings = read_settings(connection.flags())
    tenant_id = settings.required("tenant_id")
    printer = Printer(display, _COLUMNS)
    async with open_session(settings, tenant_id) as session:
        token = await _token(session)
    source = credential_source(tenant_id, settings)
    printer.add(
        {
            "tenant_id": tenant_id,
            "base_url": session.base_url,
            "credentials": "token" if source.client_id is None else f"client {source.client_id}",
            "origin": str(source.secret),
            "expires_at": None if token.expires_at is None else _moment(token.expires_at),
        }
    )
    printer.end()
    return ExitCode.DONE


async def _token(session: ConnectorSession) -> Token:
    limit = asyncio.timeout(SINGLE_CALL_DEADLINE if session.deadline is None else session.deadline)
    try:
        async with limit:
            return await session.fetch_token()
    except TimeoutError:
        if not limit.expired():  # some of our own errors are timeouts as well
            raise
        raise DeadlineExceededError("the deadline came before a token was had") from None


def _moment(monotonic: float) -> str:
    left = timedelta(seconds=round(monotonic - time.monotonic()))
    return format_instant(datetime.now(UTC).replace(microsecond=0) + left)
