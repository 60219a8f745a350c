"""Issues, checks and revokes access tokens: JSON Web Tokens (RFC 7519) signed with HS256 by a key of this server.

It knows clients and tenants by name only, and no HTTP; what time it is, it is told.
"""

import hmac
import math
import secrets
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import jwt

from .token_store import TokenStore

DEFAULT_CLIENT_ID: Final = "sandbox"
DEFAULT_CLIENT_SECRET: Final = "sandbox-secret"  # noqa: S105 - published on purpose: it opens nothing but a sandbox

_ALGORITHM: Final = "HS256"
_REFRESH_TOKEN_BYTES: Final = 32
_TOKENS_OF_A_RUN: Final = 2**32


class TokenReply(Enum):
    """Which of the two documented answers a token request gets."""

    ACCESS_TOKEN = "accessToken"  # noqa: S105 - a field name
    """`accessToken`, `refreshToken` and `expiresIn`, as in the API reference."""
    TOKEN = "token"  # noqa: S105 - a field name
    """`token`, `expiresIn` and `tokenType`, as in the authentication guide."""


class InvalidTokenError(Exception):
    """A token that was not issued here, has expired or was revoked."""


class Tokens:
    """The access tokens of one server, as far as the store can tell over all its runs.

    A token's `jti` only ever grows, so that revoking all of a tenant's tokens takes one number and not a list.
    """

    def __init__(self, *, store: TokenStore, lifetime: int, now: Callable[[], float]) -> None:
        self._store = store
        self._key = store.key()
        self._lifetime = lifetime
        self._now = now
        # Numbers of a run of their own cost one write a start, where counting on would cost one a token.
        self._issued = store.begin_run() * _TOKENS_OF_A_RUN
        self._revoked_through = store.revocations()

    def issue(self, *, tenant: str, client_id: str) -> str:
        """Sign a token of the tenant that lives for the whole lifetime, rounded up to a full second."""
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

    def tenant_of(self, token: str) -> str:
        """Return the tenant a valid token belongs to.

        Raises:
            InvalidTokenError: It was not issued here, has expired or was revoked.
        """
        claims = self._claims(token)
        tenant = str(claims["tenant"])
        if self._now() >= claims["exp"]:
            raise InvalidTokenError("expired")
        if int(claims["jti"]) <= self._revoked_through.get(tenant, 0):
            raise InvalidTokenError("revoked")
        return tenant

    def revoke(self, tenant: str) -> None:
        """Refuse from now on every token issued so far for the tenant."""
        self._store.revoke(tenant, self._issued)
        self._revoked_through[tenant] = self._issued

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            # The library would judge exp and iat by the machine's clock; tenant_of judges by the clock it was given.
            return jwt.decode(
                token, self._key, algorithms=[_ALGORITHM], options={"verify_exp": False, "verify_iat": False}
            )
        # A header may hold undecodable bytes, or JSON nested too deep to parse (PyJWT 2.10 lets that error out).
        except (jwt.PyJWTError, UnicodeError, RecursionError) as error:
            raise InvalidTokenError("not issued here") from error


def secret_matches(clients: Mapping[str, str], *, client_id: str, client_secret: str) -> bool:
    """Tell whether the client exists and this is its secret."""
    expected = clients.get(client_id)
    return expected is not None and hmac.compare_digest(expected.encode(), client_secret.encode())


def token_body(reply: TokenReply, *, token: str, lifetime: int) -> dict[str, object]:
    """Build the JSON object that answers a token request.

    The refresh token is random and opens nothing: no operation that takes one is documented.
    """
    if reply is TokenReply.TOKEN:
        return {"token": token, "expiresIn": lifetime, "tokenType": "Bearer"}
    return {"accessToken": token, "refreshToken": secrets.token_urlsafe(_REFRESH_TOKEN_BYTES), "expiresIn": lifetime}
