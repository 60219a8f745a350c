"""Where bearer tokens come from.

A provider sends through the callable that the session hands in; it knows no HTTP library and no appointments.
"""

import asyncio
import copy
import functools
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NoReturn, Protocol, runtime_checkable

import attrs
import orjson

from .deadline import Clock
from .exceptions import ConnectorError, DecodingError
from .protocol import Response, check_header_text, check_text, request_id

_DOCUMENTED_LIFETIME: Final = 3600.0
_MIN_LIFETIME: Final = 1.0
_MAX_LIFETIME: Final = 24 * 3600.0
_REFRESH_AHEAD: Final = 0.1


class Secret:
    """A text that does not show itself: not in `repr`, `str`, a pickle or `attrs.asdict`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"a secret must be a str, not {type(value).__name__}")
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


@attrs.frozen(eq=False)
class Token:
    """A bearer token. Two are equal when they are the same object, so that a late 401 cannot revoke its successor.

    Raises:
        TypeError: `value` is neither a text nor a `Secret`.
    """

    value: Secret = attrs.field(converter=_to_secret)
    """What stands behind `Bearer` in the `Authorization` header (RFC 6750, section 2.1)."""
    expires_at: float | None = None
    """When to stop using it, in seconds of the clock's `monotonic`; `None`: never."""


class TokenSend(Protocol):
    """What a session hands to a provider: it posts to the tenant's token endpoint, without a token."""

    @property
    def base_url(self) -> str:
        """The API that the token is for."""
        ...

    async def __call__(self, body: bytes) -> Response:
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


class StaticToken:
    """A token that the caller has; it is never renewed.

    Raises:
        ValueError: The token is empty, or is not printable ASCII without spaces.
        TypeError: The token is no text.
    """

    def __init__(self, token: str) -> None:
        check_header_text("token", token)
        if not _is_token(token):
            raise ValueError("token must not have spaces")
        self._token = Token(Secret(token))

    def __repr__(self) -> str:
        return "StaticToken('…')"

    async def token(self, tenant: str, send: TokenSend) -> Token:  # noqa: ARG002 - the protocol's parameters
        """Return the token, whatever the tenant."""
        return self._token

    def invalidate(self, tenant: str, token: Token) -> None:
        """Do nothing: there is no other token."""


class ClientCredentials:
    """Exchanges a client id and its secret for tokens, at the tenant's token endpoint.

    Tokens are kept by (base URL, tenant) until a tenth of their life is left. However many callers wait for one, one
    request fetches it, in a task of its own: a caller that is cancelled takes nothing from the others. Instances with
    the same id and secret are equal, and a session lets equal ones share their tokens.

    Raises:
        ValueError: The id or the secret is empty, or has a control character.
        TypeError: The id or the secret is no text.
    """

    def __init__(self, client_id: str, client_secret: str, *, clock: Clock | None = None) -> None:
        check_text("client_id", client_id)
        check_text("client_secret", client_secret)
        self.client_id = client_id
        self._client_secret = Secret(client_secret)
        self._clock = clock or Clock()
        self._tokens: dict[tuple[str, str], Token] = {}
        # By who sends: sessions with these credentials have timeouts and ends of their own.
        self._fetches: dict[TokenSend, asyncio.Task[Token]] = {}

    def __repr__(self) -> str:
        return f"ClientCredentials({self.client_id!r}, '…')"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ClientCredentials)
            and self.client_id == other.client_id
            and self._client_secret == other._client_secret
        )

    def __hash__(self) -> int:
        return hash((self.client_id, self._client_secret))

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return the tenant's token, fetching one when there is none or the kept one is about to expire.

        Raises:
            AuthenticationError: The credentials are refused.
            DecodingError: The answer has no token.
            ConnectorError: The endpoint answered otherwise, or not at all.
            RuntimeError: The session was closed, or its event loop shut down.
        """
        token = self._tokens.get((send.base_url, tenant))
        if token is not None and (token.expires_at is None or self._clock.monotonic() < token.expires_at):
            return token
        return await self._share_fetch(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None:
        """Forget `token` if it is still the tenant's current one."""
        for key, kept in list(self._tokens.items()):
            if kept is token and key[1] == tenant:
                del self._tokens[key]

    async def _share_fetch(self, tenant: str, send: TokenSend) -> Token:
        task = self._fetches.get(send)
        # One left by an event loop that has ended never finishes.
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._fetches[send] = send.create_task(self._fetch((send.base_url, tenant), send))
            task.add_done_callback(functools.partial(self._end_fetch, send))
        # Unlike awaiting the task, asyncio.wait leaves it running when this caller is cancelled.
        await asyncio.wait([task])
        if task.cancelled():
            raise RuntimeError("the session was closed while it fetched a token")
        error = task.exception()
        if isinstance(error, ConnectorError):
            raise copy.copy(error)  # each caller's own, since a traceback is written into what is raised
        return task.result()

    def _end_fetch(self, send: TokenSend, task: asyncio.Task[Token]) -> None:
        if self._fetches.get(send) is task:
            del self._fetches[send]
        # Otherwise asyncio reports it as never retrieved when every caller was cancelled meanwhile.
        if not task.cancelled():
            task.exception()

    async def _fetch(self, key: tuple[str, str], send: TokenSend) -> Token:
        asked_at = self._clock.monotonic()
        body = orjson.dumps({"clientId": self.client_id, "clientSecret": self._client_secret.reveal()})
        token = _token_from(await send(body), asked_at)
        self._tokens[key] = token
        return token


def _token_from(response: Response, asked_at: float) -> Token:
    answer = _parse(response)
    # The two documented answers (contract, "Authentication").
    value = answer.get("accessToken") or answer.get("token")
    if not isinstance(value, str):
        raise _malformed(response, "$: neither accessToken nor token is a string")
    if not _is_token(value):
        raise _malformed(response, "$: the token is not printable ASCII without spaces")
    return Token(Secret(value), asked_at + _lifetime(answer.get("expiresIn")) * (1 - _REFRESH_AHEAD))


def _is_token(value: str) -> bool:
    # RFC 6750, section 2.1, allows fewer characters; what matters is that the header says what was meant.
    return value.isascii() and value.isprintable() and value != "" and " " not in value


def _parse(response: Response) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise _malformed(response, "$: not a JSON object")
    return parsed


def _malformed(response: Response, problem: str) -> DecodingError:
    return DecodingError(
        "the token endpoint's answer is not what the contract says",
        problems=[problem],
        request_id=request_id(response.headers),
    )


def _lifetime(expires_in: object) -> float:
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool) and expires_in > 0:
        return min(max(float(expires_in), _MIN_LIFETIME), _MAX_LIFETIME)
    # What is missing or makes no sense is read as the documented hour: an early 401 is repaired by a replay, while a
    # token that is born expired would be fetched again for every call.
    return _DOCUMENTED_LIFETIME
