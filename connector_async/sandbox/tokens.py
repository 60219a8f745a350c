"""Issue, verify and revoke access tokens: JSON Web Tokens (RFC 7519) signed with HS256 by a key of this server.

SQLite keeps what tokens need to survive a restart. This module knows no HTTP; the clock is passed in.
"""

import hmac
import math
import secrets
import sqlite3
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import jwt

from .settings import TokenResponse

DEFAULT_CLIENT_ID: Final = "sandbox"
DEFAULT_CLIENT_SECRET: Final = "sandbox-secret"  # noqa: S105 - public on purpose: it opens only a sandbox

_ALGORITHM: Final = "HS256"
_REFRESH_TOKEN_BYTES: Final = 32
_TOKENS_PER_RUN: Final = 2**32

_KEY_BYTES: Final = 32
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS token_run (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), key BLOB, runs INTEGER);
CREATE TABLE IF NOT EXISTS token_revocation (tenant TEXT PRIMARY KEY, through INTEGER NOT NULL);
"""
_INSERT_KEY: Final = "INSERT OR IGNORE INTO token_run VALUES (1, ?, 0)"
_COUNT_RUN: Final = "UPDATE token_run SET runs = runs + 1 RETURNING runs"
_REVOKE: Final = "INSERT INTO token_revocation VALUES (?, ?) ON CONFLICT DO UPDATE SET through = excluded.through"


class InvalidTokenError(Exception):
    """The token was not issued here, has expired or was revoked."""


class TokenStore:
    """The signing key, the number of runs and the revocations in one database.

    Anyone who can read the database can sign tokens: the key is stored unencrypted. The methods are not coroutines.
    All but `revoke` are called once per start, and a revocation must be on the disk when `revoke` returns.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def key(self) -> bytes:
        """Return the signing key."""
        (key,) = self._connection.execute("SELECT key FROM token_run").fetchone()
        return bytes(key)

    def start_run(self) -> int:
        """Count this run and return its number, from 1."""
        (runs,) = self._connection.execute(_COUNT_RUN).fetchall()[0]
        return int(runs)

    def revocations(self) -> dict[str, int]:
        """Return the number of the last revoked token of each tenant."""
        return dict(self._connection.execute("SELECT tenant, through FROM token_revocation"))

    def revoke(self, tenant: str, through: int) -> None:
        """Store that the tenant's tokens up to this number are revoked."""
        self._connection.execute(_REVOKE, (tenant, through))


@contextmanager
def open_token_store(database: str | Path) -> Generator[TokenStore]:
    """Open the store in a database, creating both if they are missing.

    Args:
        database: A file, or `:memory:`.

    Raises:
        sqlite3.Error: If the database cannot be opened or is not a SQLite database.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        connection.execute(_INSERT_KEY, (secrets.token_bytes(_KEY_BYTES),))
        yield TokenStore(connection)


class TokenIssuer:
    """Issues and verifies the access tokens of one server.

    The `jti` of a token is a number that only grows, over all runs with the same store. So one number per tenant
    revokes all its earlier tokens, and no list is needed.
    """

    def __init__(self, *, store: TokenStore, lifetime: int, now: Callable[[], float]) -> None:
        self._store = store
        self._key = store.key()
        self._lifetime = lifetime
        self._now = now
        # Each run has a number range of its own. This costs one write per start; a stored counter costs one per token.
        self._issued = store.start_run() * _TOKENS_PER_RUN
        self._revoked_through = store.revocations()

    def issue(self, *, tenant: str, client_id: str) -> str:
        """Return a signed token of the tenant; its expiry is rounded up to a full second."""
        now = self._now()
        self._issued += 1
        claims = {
            "tenant": tenant,
            "sub": client_id,
            "iat": math.floor(now),
            "exp": math.ceil(now + self._lifetime),
            "jti": str(self._issued),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def verify(self, token: str) -> str:
        """Return the tenant of a valid token.

        Raises:
            InvalidTokenError: If the token was not issued here, has expired or was revoked.
        """
        claims = self._claims(token)
        tenant = str(claims["tenant"])
        if self._now() >= claims["exp"]:
            raise InvalidTokenError("expired")
        if int(claims["jti"]) <= self._revoked_through.get(tenant, 0):
            raise InvalidTokenError("revoked")
        return tenant

    def revoke(self, tenant: str) -> None:
        """Revoke every token that was issued for the tenant so far."""
        self._store.revoke(tenant, self._issued)
        self._revoked_through[tenant] = self._issued

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            # The library would check exp and iat with the machine's clock. `verify` uses the clock that was passed in.
            return jwt.decode(
                token, self._key, algorithms=[_ALGORITHM], options={"verify_exp": False, "verify_iat": False}
            )
        # A header may hold undecodable bytes, or JSON nested too deep to parse (PyJWT 2.10 does not wrap that error).
        except (jwt.PyJWTError, UnicodeError, RecursionError) as error:
            raise InvalidTokenError("not issued here") from error


def is_valid_secret(clients: Mapping[str, str], *, client_id: str, client_secret: str) -> bool:
    """Return whether the client exists and has this secret."""
    expected = clients.get(client_id)
    return expected is not None and hmac.compare_digest(expected.encode(), client_secret.encode())


def token_response_body(kind: TokenResponse, *, token: str, lifetime: int) -> dict[str, object]:
    """Return the JSON object of a token response.

    The refresh token is random and of no use: no documented operation accepts one.
    """
    if kind is TokenResponse.TOKEN:
        return {"token": token, "expiresIn": lifetime, "tokenType": "Bearer"}
    return {"accessToken": token, "refreshToken": secrets.token_urlsafe(_REFRESH_TOKEN_BYTES), "expiresIn": lifetime}
