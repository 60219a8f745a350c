"""The sessions of a bulk sync: one set of connections, and for each tenant the credentials that the settings say."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable

from connector_async.appointments import AppointmentService
from connector_async.auth import Token, TokenProvider, TokenSend
from connector_async.exceptions import AuthenticationError
from connector_async.sync.records import Calendar

from .connect import open_session
from .credentials import credentials_for
from .messages import tell
from .secret_sources import SecretReader
from .settings import Settings, SettingsError, rate_limit_of


class TenantCredentials:
    """A `TokenProvider` that knows the credentials of every tenant, and reads them when they are first needed.

    Args:
        settings: Say where they are.
        warn: Told why a tenant has none, and of files that others can read, one line each.
    """

    def __init__(self, settings: Settings, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._warn = warn
        self._secrets = SecretReader(warn)
        self._providers: dict[str, TokenProvider | None] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return a token of the tenant's own credentials.

        Raises:
            AuthenticationError: It has none, or they were rejected: the work of this tenant ends, and no other's.
            ConnectorError: No token could be had.
        """
        async with self._turns[tenant]:
            if tenant not in self._providers:
                self._providers[tenant] = await asyncio.to_thread(self._read, tenant)
        provider = self._providers[tenant]
        if provider is None:
            raise AuthenticationError(f"there are no usable credentials for the tenant {tenant}")
        return await provider.token(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None:
        """Forget a token that was refused."""
        provider = self._providers.get(tenant)
        if provider is not None:
            provider.invalidate(tenant, token)

    def _read(self, tenant: str) -> TokenProvider | None:
        try:
            return credentials_for(tenant, self._settings, self._secrets)
        except SettingsError as error:
            self._warn(f"tenant {tenant}: {error}")
            return None


class TenantServices:
    """Returns the service of a calendar. All share their connections, and each tenant keeps its pace.

    Args:
        settings: Say where the API is and how to reach it.

    Raises:
        ValueError: A setting breaks its rule, or is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._session = open_session(
            settings,
            settings.get("tenant_id") or "sync",  # the connections need one; nothing is sent unless it has calendars
            auth=TenantCredentials(settings, lambda text: tell(sys.stderr, text)),
            # After a pause nothing is saved up: the steady pace is the fastest there is.
            rate_limit=rate_limit_of(settings.get("rate_limit"), burst=1),
        )

    def __call__(self, calendar: Calendar) -> AppointmentService:
        """Return the service of a calendar."""
        return AppointmentService(self._session.for_tenant(calendar.tenant_id), user=calendar.user)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.aclose()
