"""The token that a session's requests carry, for those who only want to know whether it can be had."""

from connector_async.auth import Token

from .connector_session import ConnectorSession


async def token_of(session: ConnectorSession) -> Token:
    """Return the token that the session's next request would carry, fetching one when there is none.

    Raises:
        AuthenticationError: The credentials are rejected.
        ConnectorError: The token endpoint answered otherwise, or not at all.
        RuntimeError: The session is closed.
    """
    tenant = session._tenant  # noqa: SLF001 - a part of the session, which has no room for it
    tenant.transport.check_open()
    return await session._exchange.auth.token(tenant.tenant_id, tenant)  # noqa: SLF001
