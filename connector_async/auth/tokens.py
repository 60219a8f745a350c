"""Tokens, what a provider of them is, and the provider of the one that the caller has."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol, runtime_checkable

import attrs

from connector_async._checks import check_header_text
from connector_async._tracebacks import hiding_arguments
from connector_async.protocol import Response


class Secret:
    """A text that does not show itself: not in `repr`, `str`, a pickle or `attrs.asdict`.

    Raises:
        TypeError: `value` is no text.
    """

    __slots__ = ("_value",)

    @hiding_arguments
    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"value must be a str, not {type(value).__name__}")
        self._value = value

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


def _to_secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _check_token(_: object, field: "attrs.Attribute[Secret]", value: Secret) -> None:
    if not is_token(value.reveal()):
        raise ValueError(f"{field.name} must be printable ASCII without spaces, and not empty: a header carries it")


def _check_moment(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{field.name} must be a number or None, not {type(value).__name__}")
    if value != value:
        raise ValueError(f"{field.name} must be a number of seconds, and is none")


@attrs.frozen(eq=False, init=False)
class Token:
    """A bearer token. Two are equal when they are the same object, so that a late 401 cannot revoke its successor.

    Raises:
        ValueError: `value` is empty, or is not printable ASCII without spaces; or `expires_at` is no number.
        TypeError: `value` is neither a text nor a `Secret`, or `expires_at` neither an int nor a float.
    """

    value: Secret = attrs.field(converter=_to_secret, validator=_check_token)
    """What stands behind `Bearer` in the `Authorization` header (RFC 6750, section 2.1)."""
    expires_at: float | None = attrs.field(default=None, validator=_check_moment)
    """When to stop using it, in seconds of the clock's `monotonic`; `None`: never."""

    @hiding_arguments
    def __init__(self, value: str | Secret, expires_at: float | None = None) -> None:
        self.__attrs_init__(value, expires_at)  # pyright: ignore[reportAttributeAccessIssue] - attrs makes it


class TokenSend(Protocol):
    """What a session hands to a provider: it posts to the tenant's token endpoint, without a token."""

    @property
    def base_url(self) -> str:
        """The API that the token is for."""
        ...

    async def post_token_request(self, body: bytes) -> Response:
        """Post `body` as JSON to `{base_url}/{tenantId}/authentication/token` and return its 2xx answer.

        Raises:
            AuthenticationError: The endpoint answered 400, 401 or 403.
            ConnectorError: It answered otherwise, or not at all.
        """
        ...

    def create_task(self, fetch: Coroutine[Any, Any, Token]) -> asyncio.Task[Token]:
        """Run `fetch` in a task of its own: it outlives its caller, and ends when the session closes."""
        ...


@runtime_checkable
class TokenProvider(Protocol):
    """Gives the tokens of a session; write one for credentials that come from elsewhere."""

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return a token for `tenant`, from a cache while it lives. Called once before each request."""
        ...

    def invalidate(self, tenant: str, token: Token) -> None:
        """Forget `token`, which the server refused with 401, unless another one has taken its place."""
        ...


@runtime_checkable
class CachingTokenProvider(TokenProvider, Protocol):
    """A provider that is asked first for what it has at hand, which saves a coroutine for each request."""

    def cached_token(self, tenant: str, send: TokenSend) -> Token | None:
        """Return a token for `tenant` that is at hand; `None`: `token` is to be awaited."""
        ...


class StaticToken:
    """A token that the caller has; it is never renewed.

    Raises:
        ValueError: The token is empty, or is not printable ASCII without spaces.
        TypeError: The token is no text.
    """

    @hiding_arguments
    def __init__(self, token: str) -> None:
        check_header_text("token", token)
        if not is_token(token):
            raise ValueError("token must not have spaces")
        self._token = Token(Secret(token))

    def __repr__(self) -> str:
        return "StaticToken('…')"

    def cached_token(self, tenant: str, send: TokenSend) -> Token:  # noqa: ARG002 - the protocol's parameters
        """Return the token, whatever the tenant."""
        return self._token

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return the token, whatever the tenant."""
        return self.cached_token(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None:
        """Do nothing: there is no other token."""


def is_token(value: str) -> bool:
    """Tell whether the `Authorization` header can say what is meant: printable ASCII without spaces."""
    # RFC 6750, section 2.1, allows fewer characters still.
    return value.isascii() and value.isprintable() and value != "" and " " not in value
