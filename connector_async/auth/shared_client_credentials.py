"""`SharedClientCredentials`: `ClientCredentials` whose tokens are kept in PostgreSQL, encrypted, for many processes.

A process that needs a token reads the row of its tenant. If there is no usable token, one process claims the row for a
few seconds and fetches; the others read until the token is there. No connection is held meanwhile. All times are
seconds since 1970 by the clock of the database.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final, LiteralString, Self

import attrs
import orjson
import psycopg
from cryptography.fernet import Fernet, InvalidToken

from connector_async import _log
from connector_async._checks import check_seconds
from connector_async._clock import Clock
from connector_async._postgres import Connections, Row, checked_url, is_transient
from connector_async._remote_store import POOL_SIZE, PerLoop, call_store
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import InvalidArgumentError

from .client_credentials import ClientCredentials
from .renewing import MANDATORY_WINDOW, MAX_LIFETIME, MIN_LIFETIME, FetchedToken
from .tokens import Secret, TokenSend

_CLAIM: Final = 5.0
"""Seconds in which one process fetches. A process that dies meanwhile delays the others for as long."""

_LONGEST_WAIT: Final = 10.0
"""Seconds that a process waits for the fetches of others before it fetches by itself."""

_LONGEST_RELEASE: Final = 0.5
"""Seconds to let another process fetch after a failure. A session that is being closed waits for that."""

_PAUSE: Final = 0.1
"""Seconds between two looks for the token that another process fetches."""

# The lock (the number is "toke") lets one process create the table.
_CREATE: Final = """
SELECT pg_advisory_xact_lock(1953459045);
CREATE TABLE IF NOT EXISTS connector_tokens (
    base_url text COLLATE "C" NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    token text COLLATE "C",
    lifetime double precision NOT NULL DEFAULT 0,
    expires_at double precision NOT NULL DEFAULT 0,
    claimed_until double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (base_url, tenant_id, client_id)
)
"""

_KEY: Final = "base_url = %(base_url)s AND tenant_id = %(tenant_id)s AND client_id = %(client_id)s"

_READ: Final = f"""
SELECT token, lifetime, expires_at - now, claimed_until > now
FROM connector_tokens, (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) AS clock
WHERE {_KEY}
"""  # noqa: S608 - no input

# Two processes that have seen the same token cannot both claim its replacement, even one after the other.
_CLAIM_ROW: Final = """
INSERT INTO connector_tokens AS tokens (base_url, tenant_id, client_id, claimed_until)
SELECT %(base_url)s, %(tenant_id)s, %(client_id)s, extract(epoch FROM clock_timestamp())::float8 + %(seconds)s
ON CONFLICT (base_url, tenant_id, client_id) DO UPDATE SET claimed_until = excluded.claimed_until
WHERE tokens.claimed_until <= extract(epoch FROM clock_timestamp())::float8
    AND tokens.token IS NOT DISTINCT FROM %(seen)s::text
RETURNING claimed_until
"""

_RELEASE: Final = f"""
UPDATE connector_tokens SET claimed_until = 0 WHERE {_KEY} AND claimed_until = %(claim)s
"""  # noqa: S608 - no input

_WRITE: Final = """
INSERT INTO connector_tokens (base_url, tenant_id, client_id, token, lifetime, expires_at)
SELECT %(base_url)s, %(tenant_id)s, %(client_id)s, %(token)s, %(lifetime)s,
    extract(epoch FROM clock_timestamp())::float8 + %(left)s
ON CONFLICT (base_url, tenant_id, client_id) DO UPDATE SET
    token = excluded.token, lifetime = excluded.lifetime, expires_at = excluded.expires_at, claimed_until = 0
"""

_CLEAN: Final = """
DELETE FROM connector_tokens WHERE (base_url, tenant_id, client_id) IN (
    SELECT base_url, tenant_id, client_id FROM connector_tokens
    WHERE greatest(expires_at, claimed_until) < extract(epoch FROM clock_timestamp())::float8
    FOR UPDATE SKIP LOCKED
)
"""


class _StoreError(Exception):
    """The database failed. It never leaves this module: the token is then fetched from the server."""


@attrs.frozen
class _StoredToken:
    value: Secret
    is_after_refusal: bool
    """Whether it has replaced a token that the server refused, and not one that was to be renewed."""


@attrs.frozen
class _Claim:
    """What a process that has to fetch knows of its row."""

    until: float | None
    """Identifies the claim. `None`: others have fetched for too long, and this process does not wait any more."""


class SharedClientCredentials(ClientCredentials):
    """`ClientCredentials` for many processes: they share the tokens in a table of PostgreSQL, so that one fetches.

    The tokens are encrypted with a key of yours (Fernet: AES-128 in CBC mode, with HMAC-SHA256). A row also has, in
    plain text, the base URL, the tenant, the client id, and the time at which the token expires. Someone who has both
    the database and the key can send requests until then. The client secret is not stored.

    In each process the tokens are cached and renewed as those of `ClientCredentials` are. A token that is to be renewed
    is replaced by the one that another process has stored meanwhile, or by a new one. So is a token that the server
    refused, but only by one that has replaced a refused one. A token that was stored with another key or client secret
    is replaced, with a warning in the log.

    The table is a cache, and never fails a call: when the database is down, each process fetches its own tokens. The
    table `connector_tokens` is created at the first use, in the first schema of the `search_path`. Expired rows are
    deleted when a token is stored.

    It works in several event loops. Each has two connections at most, which are closed when the loop shuts down or by
    `aclose`. On Windows psycopg needs a `SelectorEventLoop`. It needs the extra `shared-tokens`.

    Args:
        client_id: The client id.
        client_secret: Its secret.
        url: `postgresql://` and a database, with the options of libpq.
        key: 32 random bytes in URL-safe Base64, as `cryptography.fernet.Fernet.generate_key()` returns. All processes
            need the same one. Keep it where the client secret is kept, not in the database.
        timeout: Seconds for one operation of the database, including retries. A fetch takes so much longer when it is
            down, and twice as much if it goes down meanwhile.
        clock: The clock that tokens expire by. `None`: the machine's.

    Raises:
        ValueError: If an argument breaks its rule. The message names the argument.
        TypeError: If an argument has another type. The message names the argument.
    """

    @hiding_arguments
    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        url: str,
        key: str | bytes,
        timeout: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(client_id, client_secret, clock=clock)
        url = checked_url(url)
        self._fernet = _fernet(key)
        self._store_timeout = check_seconds("timeout", timeout, above_zero=True)
        self._connections = PerLoop(lambda: Connections(url, POOL_SIZE), Connections.aclose)
        key = key.decode() if isinstance(key, bytes) else key
        self._identity = (self._identity, Secret(url), Secret(key))

    def __repr__(self) -> str:
        return f"SharedClientCredentials({self.client_id!r}, '…', url='…', key='…')"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of the running event loop. Tokens are then fetched without the database."""
        await self._connections.aclose()

    async def _fetch_token(self, tenant: str, send: TokenSend) -> FetchedToken:
        if self._connections.closed:
            return await super()._fetch_token(tenant, send)
        row = {"base_url": send.base_url, "tenant_id": tenant, "client_id": self.client_id}
        try:
            found = await self._find_or_claim(row)
        except _StoreError as failure:
            _log.token_store_failure(tenant=tenant, problem=str(failure))
            return await super()._fetch_token(tenant, send)
        if isinstance(found, FetchedToken):
            return found
        try:
            return await self._fetch_and_store(tenant, send, row)
        except (Exception, asyncio.CancelledError):  # cancelled: the session is being closed
            seconds = min(self._store_timeout, _LONGEST_RELEASE)
            await self._try(tenant, _RELEASE, row | {"claim": found.until}, seconds=seconds)
            raise

    async def _fetch_and_store(self, tenant: str, send: TokenSend, row: Mapping[str, str]) -> FetchedToken:
        started_at = self._clock.monotonic()
        is_after_refusal = self._is_refused(tenant, send.base_url)
        fetched = await super()._fetch_token(tenant, send)
        lifetime = MAX_LIFETIME if fetched.lifetime is None else min(fetched.lifetime, MAX_LIFETIME)
        left = lifetime - (self._clock.monotonic() - started_at)
        token = self._sealed(row, _StoredToken(fetched.value, is_after_refusal))
        if await self._try(tenant, _WRITE, {**row, "token": token, "lifetime": lifetime, "left": left}):
            await self._try(tenant, _CLEAN, {})
        return fetched

    async def _find_or_claim(self, row: Mapping[str, str]) -> FetchedToken | _Claim:
        """Return the token in a row, or the right to replace it.

        Raises:
            _StoreError: If the database fails, or does not respond in time.
        """
        held = self._held_value(row["tenant_id"], row["base_url"])
        is_refused = self._is_refused(row["tenant_id"], row["base_url"])
        give_up_at = self._clock.monotonic() + _LONGEST_WAIT
        while True:
            seen, lifetime, left, claimed = await self._run(_READ, row) or (None, 0.0, 0.0, False)
            stored = None if seen is None else self._opened(row, seen)
            if (
                stored is not None
                and stored.value != held
                # A server that refuses a token may refuse the one by which another process had renewed it, too.
                and (stored.is_after_refusal or not is_refused)
                and left >= max(MIN_LIFETIME, MANDATORY_WINDOW * lifetime)
            ):
                return FetchedToken(stored.value, lifetime=left)
            claim = None if claimed else await self._run(_CLAIM_ROW, {**row, "seen": seen, "seconds": _CLAIM})
            if claim is not None or self._clock.monotonic() >= give_up_at:
                if seen is not None and stored is None:
                    _log.token_store_mismatch(tenant=row["tenant_id"])
                return _Claim(None if claim is None else claim[0])
            await self._clock.sleep(_PAUSE * (1 + self._clock.random()) / 2)

    def _sealed(self, row: Mapping[str, str], token: _StoredToken) -> str:
        """Return a token as it is stored: encrypted, with what it belongs to, so that no row can pass for another."""
        content = [self._owner(row), token.value.reveal(), token.is_after_refusal]
        return self._fernet.encrypt(orjson.dumps(content)).decode()

    def _opened(self, row: Mapping[str, str], stored: str) -> _StoredToken | None:
        """Return a stored token; `None` if it was stored with another key or client secret, or for another row."""
        try:
            owner, value, is_after_refusal = orjson.loads(self._fernet.decrypt(stored))
        except (InvalidToken, ValueError, TypeError):  # the last two: the key is used for something else, too
            return None
        return _StoredToken(Secret(value), is_after_refusal) if owner == self._owner(row) else None

    def _owner(self, row: Mapping[str, str]) -> str:
        # It is only stored encrypted: with a hash of the secret, a reader of the database could try out secrets.
        parts = [*row.values(), self._client_secret.reveal()]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()

    async def _try(
        self, tenant: str, query: LiteralString, parameters: Mapping[str, Any], *, seconds: float | None = None
    ) -> bool:
        """Execute a statement that may fail, and return whether it did not."""
        try:
            await self._run(query, parameters, seconds=seconds)
        except _StoreError as failure:
            _log.token_store_failure(tenant=tenant, problem=str(failure))
            return False
        return True

    async def _run(
        self, query: LiteralString, parameters: Mapping[str, Any], *, seconds: float | None = None
    ) -> Row | None:
        async def execute() -> Row | None:
            if self._connections.closed:  # while it fetched a token
                raise _StoreError("the store of the tokens is closed")
            connections = await self._connections.get()
            try:
                return await connections.execute(query, parameters)
            except psycopg.errors.UndefinedTable:
                await connections.execute(_CREATE)
            return await connections.execute(query, parameters)

        return await call_store(
            execute,
            seconds=self._store_timeout if seconds is None else seconds,
            errors=psycopg.Error,
            is_transient=is_transient,
            name="the store of the tokens",
            raises=_StoreError,
        )


def _fernet(key: str | bytes) -> Fernet:
    if not isinstance(key, str | bytes):
        raise TypeError(f"key must be a str or bytes, not {type(key).__name__}")
    try:
        return Fernet(key)
    except ValueError:
        pass
    raise InvalidArgumentError(
        "key must be 32 bytes in URL-safe Base64, as Fernet.generate_key() returns", argument="key"
    )
