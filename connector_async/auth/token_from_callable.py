"""`TokenFromCallable`: gets tokens from a coroutine function of the application."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from connector_async._checks import check_callable, check_seconds
from connector_async._clock import Clock, is_cancelled

from .renewing import FetchedToken, RenewingTokenProvider
from .tokens import TokenSend, usable_lifetime, usable_secret


class TokenFromCallable(RenewingTokenProvider):
    """Gets tokens from a coroutine function of the application, such as a request to a vault.

    Tokens are cached, renewed and shared by callers as those of `ClientCredentials` are. A token without a lifetime is
    used until the server refuses it. What `fetch` raises reaches the callers; after an `AuthenticationError`, it is not
    called again for 5 seconds. Build one provider and keep it: each has a cache of its own.

    Args:
        fetch: Called as `fetch(tenant_id)`. It returns an awaitable of the token, or of the token and its lifetime in
            seconds. Call a blocking function in a thread: `lambda tenant: asyncio.to_thread(function, tenant)`.
        timeout: Seconds after which a call of `fetch` is cancelled.
        clock: The clock that tokens expire by. `None`: the machine's.

    Raises:
        ValueError: If `timeout` is not above zero.
        TypeError: If `fetch` is not callable, or another argument has another type.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[str | tuple[str, float]]],
        *,
        timeout: float = 30,
        clock: Clock | None = None,
    ) -> None:
        check_callable("fetch", fetch)
        check_seconds("timeout", timeout, above_zero=True)
        super().__init__(timeout=timeout, clock=clock)
        self._callable = fetch

    def __repr__(self) -> str:
        return f"TokenFromCallable({getattr(self._callable, '__qualname__', type(self._callable).__name__)})"

    async def _fetch_token(self, tenant: str, send: TokenSend) -> FetchedToken:  # noqa: ARG002 - not the API's token
        awaitable = self._callable(tenant)
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"{self!r} must return an awaitable, not {type(awaitable).__name__}")
        try:
            value, lifetime = _split(await awaitable)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # A task that the function awaits was cancelled.
            raise RuntimeError(f"{self!r} was cancelled, although the fetch was not") from None
        if not isinstance(value, str):
            raise TypeError(f"{self!r} must return a str, or a str and seconds, not {type(value).__name__}")
        source = f"the result of {self!r}"
        return FetchedToken(usable_secret(source, value), usable_lifetime(source, lifetime))


def _split(result: Any) -> tuple[Any, Any]:
    return result if isinstance(result, tuple) and len(result) == 2 else (result, None)
