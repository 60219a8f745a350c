"""`ClientCredentials`: gets tokens for a client id and a secret from the API's token endpoint."""

import orjson

from connector_async._checks import check_text
from connector_async._clock import Clock
from connector_async._tracebacks import hiding_arguments

from .renewing import FetchedToken, RenewingTokenProvider
from .token_response import read_token
from .tokens import Secret, TokenSend


class ClientCredentials(RenewingTokenProvider):
    """Gets tokens for a client id and its secret from the tenant's token endpoint.

    Tokens are cached by base URL and tenant. When a tenth of its lifetime is left, a token is renewed in the
    background. When a fiftieth is left, callers wait for the new token. If a renewal fails, the old token is used until
    it expires, and the renewal is retried after a minute.

    Any number of callers share one token request. After rejected credentials, calls fail for 5 seconds without another
    request. Instances with the same id and secret are equal, and a session shares the tokens of equal instances.

    Raises:
        ValueError: If the id or the secret is empty or not printable.
        TypeError: If the id or the secret is not a str, or `clock` is not a `Clock`.
    """

    @hiding_arguments
    def __init__(self, client_id: str, client_secret: str, *, clock: Clock | None = None) -> None:
        check_text("client_id", client_id)
        check_text("client_secret", client_secret)
        self.client_id = client_id
        self._client_secret = Secret(client_secret)
        super().__init__(identity=(client_id, self._client_secret), clock=clock)

    def __repr__(self) -> str:
        return f"ClientCredentials({self.client_id!r}, '…')"

    async def _fetch_token(self, tenant: str, send: TokenSend) -> FetchedToken:  # noqa: ARG002 - it is in the URL of `send`
        body = orjson.dumps({"clientId": self.client_id, "clientSecret": self._client_secret.reveal()})
        return read_token(await send.post_token_request(body))
