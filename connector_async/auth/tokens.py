"""Tokens, the interface of a token provider, and the provider of a token that never changes."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol, runtime_checkable

import attrs

from connector_async._checks import check_number, validator
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import InvalidArgumentError, TokenUnavailableError
from connector_async.protocol import Response


class Secret:
    """A string that does not show its value: not in `repr`, `str`, a pickle or `attrs.asdict`.

    Raises:
        TypeError: If `value` is not a str.
    """

    __slots__ = ("_value",)

    @hiding_arguments
    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"value must be a str, not {type(value).__name__}")
        self._value = value

    def reveal(self) -> str:
        """Return the value."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


def is_token(value: str) -> bool:
    """Return whether an `Authorization` header can carry `value`: printable ASCII without spaces, and not empty."""
    # RFC 6750, section 2.1, allows even fewer characters.
    return value.isascii() and value.isprintable() and value != "" and " " not in value


def usable_secret(source: str, value: str) -> Secret:
    """Return a token that a provider has found.

    Args:
        source: Where it was found, for the message of the error.
        value: The token.

    Raises:
        TokenUnavailableError: If a header cannot carry `value`. The message does not repeat it.
    """
    if not is_token(value):
        raise TokenUnavailableError(
            f"{source} must be a token: printable ASCII without spaces, and not empty", sent=False
        )
    return Secret(value)


def usable_lifetime(source: str, value: object) -> float | None:
    """Return the lifetime that a provider has found with a token, in seconds; `None` if there is none.

    Raises:
        TokenUnavailableError: If `value` is not a number above zero.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise TokenUnavailableError(
            f"{source} has no lifetime above zero: the token has expired, or it is not a number", sent=False
        )
    return value


def _to_secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _check_token(name: str, secret: Secret) -> None:
    if not is_token(secret.reveal()):
        raise InvalidArgumentError(
            f"{name} must be printable ASCII without spaces, and not empty: a header carries it", argument=name
        )


@attrs.frozen(eq=False, init=False)
class Token:
    """A bearer token. Tokens are compared by identity, so that a late 401 cannot revoke the next token.

    Raises:
        ValueError: If `value` is empty or not printable ASCII without spaces, or `expires_at` is NaN.
        TypeError: If `value` is neither a str nor a `Secret`, or `expires_at` is neither an int nor a float.
    """

    value: Secret = attrs.field(converter=_to_secret, validator=validator(_check_token))
    """The string after `Bearer` in the `Authorization` header (RFC 6750, section 2.1)."""
    expires_at: float | None = attrs.field(default=None, validator=validator(check_number, optional=True))
    """When the token expires, in seconds of the clock's `monotonic`. `None`: never, or unknown."""

    @hiding_arguments
    def __init__(self, value: str | Secret, expires_at: float | None = None) -> None:
        self.__attrs_init__(value, expires_at)  # pyright: ignore[reportAttributeAccessIssue] - attrs makes it


class TokenSend(Protocol):
    """Sends the token requests of a provider to one tenant's token endpoint. A session passes it to the provider."""

    @property
    def base_url(self) -> str:
        """The base URL of the API that the token is for."""
        ...

    async def post_token_request(self, body: bytes) -> Response:
        """Post `body` as JSON to `{base_url}/{tenantId}/authentication/token`, and return the 2xx response.

        Raises:
            AuthenticationError: If the status is 400, 401 or 403.
            ConnectorError: If the status is another one outside 2xx, or there is no response.
        """
        ...

    def create_task(self, fetch: Coroutine[Any, Any, Token]) -> asyncio.Task[Token]:
        """Run `fetch` in its own task. The task outlives its caller, and ends when the session is closed."""
        ...


@runtime_checkable
class TokenProvider(Protocol):
    """Provides the tokens of a session. Implement it for credentials from elsewhere, such as a vault."""

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return a token for `tenant`, from a cache until it expires. It is called once before each request."""
        ...

    def invalidate(self, tenant: str, token: Token) -> None:
        """Forget `token`, which the server refused with 401, unless a newer token has replaced it."""
        ...


@runtime_checkable
class CachingTokenProvider(TokenProvider, Protocol):
    """A provider that can return a cached token at once, which saves a coroutine for each request."""

    def cached_token(self, tenant: str, send: TokenSend) -> Token | None:
        """Return a cached token for `tenant`, or `None` if `token` has to be awaited."""
        ...


class StaticToken:
    """Provides one token that is never renewed.

    Raises:
        ValueError: If `token` is empty, or is not printable ASCII without spaces.
        TypeError: If `token` is not a str.
    """

    @hiding_arguments
    def __init__(self, token: str) -> None:
        if not isinstance(token, str):
            raise TypeError(f"token must be a str, not {type(token).__name__}")
        secret = Secret(token)
        _check_token("token", secret)
        self._token = Token(secret)

    def __repr__(self) -> str:
        return "StaticToken('…')"

    def cached_token(self, tenant: str, send: TokenSend) -> Token:  # noqa: ARG002 - the protocol's parameters
        """Return the token, for any tenant."""
        return self._token

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return the token, for any tenant."""
        return self.cached_token(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None:
        """Do nothing: there is no other token."""
