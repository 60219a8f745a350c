"""Opens what the settings say: a session with its credentials, and the service over it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connector_async._timestamps import zone_named
from connector_async.appointments import AppointmentService
from connector_async.models import DirectoryUser
from connector_async.session import ConnectorSession
from connector_async.wire import WireFormat

from .config_sources import read_settings
from .credentials import credentials_for
from .messages import tell
from .options import Connection
from .secret_sources import SecretReader
from .settings import Settings, SettingsError, rate_limit_of


@asynccontextmanager
async def opened_service(connection: Connection) -> AsyncIterator[AppointmentService]:
    """Open the service that the settings say, and close its session.

    Raises:
        ValueError: A setting breaks its rule, or is missing.
    """
    settings = read_settings(connection.flags())
    async with open_session(settings, settings.required("tenant_id")) as session:
        yield AppointmentService(session, user=user_of(settings))


def open_session(settings: Settings, tenant_id: str, **options: Any) -> ConnectorSession:
    """Build the session of a tenant.

    Args:
        settings: Say how.
        tenant_id: Which.
        options: Arguments of the session, which come before what the settings say.

    Raises:
        ValueError: A setting breaks its rule, or is missing.
    """
    base_url = settings.required("base_url")
    zone = settings.get("assume_zone")
    arguments: dict[str, Any] = {
        "wire_format": wire_format_of(settings),
        "rate_limit": rate_limit_of(settings.get("rate_limit")),
        "deadline": settings.get("deadline"),
        "allow_http": settings.get("allow_http"),
        "assume_zone": None if zone is None else zone_named(zone),
        "user_agent_suffix": "connector-async-cli",
    }
    if "auth" not in options:
        arguments["auth"] = credentials_for(tenant_id, settings, SecretReader(lambda text: tell(sys.stderr, text)))
    return ConnectorSession(base_url, tenant_id=tenant_id, **arguments | options)


def wire_format_of(settings: Settings) -> WireFormat:
    """Return how appointments look on the wire."""
    return WireFormat.REFERENCE if settings.get("format") == "reference" else WireFormat.GUIDE


def user_of(settings: Settings) -> DirectoryUser | None:
    """Return the user whose appointments are meant; `None`: the settings name none.

    Raises:
        SettingsError: They name half of one.
    """
    ad_id, domain_id = settings.get("ad_id"), settings.get("domain_id")
    if ad_id is None and domain_id is None:
        return None
    if ad_id is None or domain_id is None:
        raise SettingsError("ad_id and domain_id go together")
    return DirectoryUser(ad_id, domain_id)
