"""Opens a session or a service as the settings say."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connector_async.appointments import AppointmentService
from connector_async.models import DirectoryUser
from connector_async.session import ConnectorSession
from connector_async.sync.records import Calendar
from connector_async.wire import WireFormat

from .activity import Activity
from .credentials import credentials_for
from .messages import print_message
from .secret_sources import SecretReader
from .settings import Settings, SettingsError, assumed_zone, parse_rate_limit


@asynccontextmanager
async def service_of(settings: Settings) -> AsyncIterator[AppointmentService]:
    """Yield the service that settings describe, and close its session at the end.

    Raises:
        ValueError: If a setting is invalid or missing.
    """
    async with open_session(settings, settings.required("tenant_id")) as session:
        yield AppointmentService(session, user=selected_user(settings))


def open_session(settings: Settings, tenant_id: str, **options: Any) -> ConnectorSession:
    """Return a session for a tenant.

    Args:
        settings: Describe the session.
        tenant_id: The tenant.
        options: Arguments of `ConnectorSession` that replace what the settings say.

    Raises:
        ValueError: If a setting is invalid or missing.
    """
    base_url = settings.required("base_url")
    arguments: dict[str, Any] = {
        "wire_format": selected_format(settings),
        "rate_limit": parse_rate_limit(settings.get("rate_limit")),
        "deadline": settings.get("deadline"),
        "allow_http": settings.get("allow_http"),
        "assume_zone": assumed_zone(settings),
        "user_agent_suffix": "connector-async-cli",
    }
    activity = Activity(log_level(settings), shows_headers=settings.get("debug_http"))
    activity.start()
    arguments["telemetry"] = activity
    if "auth" not in options:
        arguments["auth"] = credentials_for(tenant_id, settings, SecretReader(print_message))
    return ConnectorSession(base_url, tenant_id=tenant_id, **arguments | options)


def log_level(settings: Settings) -> int:
    """Return the least level of the messages that are printed, in the terms of `logging`."""
    return logging.getLevelNamesMapping()[settings.get("log_level").upper()]


def is_quiet(settings: Settings) -> bool:
    """Return whether neither progress nor waits are printed."""
    return log_level(settings) >= logging.ERROR


def selected_format(settings: Settings) -> WireFormat:
    """Return the wire format that the setting `format` selects."""
    return WireFormat.REFERENCE if settings.get("format") == "reference" else WireFormat.GUIDE


def selected_user(settings: Settings) -> DirectoryUser | None:
    """Return the directory user of the settings, or `None` with the guide's format.

    Raises:
        SettingsError: If the format needs a user and the settings do not name one, or the other way round.
    """
    ad_id, domain_id = settings.get("ad_id"), settings.get("domain_id")
    if not selected_format(settings).carries_user:
        if ad_id is not None or domain_id is not None:
            raise SettingsError("--ad-id and --domain-id are accepted only with --format reference")
        return None
    if ad_id is None or domain_id is None:
        raise SettingsError("--ad-id and --domain-id are required with --format reference")
    return DirectoryUser(ad_id, domain_id)


def own_calendar(settings: Settings) -> Calendar:
    """Return the calendar of `tenant_id`, `ad_id` and `domain_id`.

    Raises:
        ValueError: If one of them is missing or invalid.
    """
    user = selected_user(settings)
    tenant_id = settings.required("tenant_id")
    return Calendar(tenant_id) if user is None else Calendar(tenant_id, user.domain_id, user.ad_id)
