"""The response of the token endpoint (contract, "Authentication")."""

from collections.abc import Mapping
from typing import Any, Final

from connector_async._json import JsonError, parse
from connector_async.exceptions import DecodingError
from connector_async.protocol import Response, request_id

from .renewing import FetchedToken
from .tokens import Secret, is_token

_DOCUMENTED_LIFETIME: Final = 3600.0


def read_token(response: Response) -> FetchedToken:
    """Return the token in a response of the token endpoint, with its lifetime.

    Raises:
        DecodingError: If the response has no token that a header can carry.
    """
    body = _parse(response)
    # The API reference documents `accessToken`, the authentication guide `token`.
    value = body.get("accessToken") or body.get("token")
    if not isinstance(value, str):
        raise _malformed(response, "$: neither accessToken nor token is a string")
    if not is_token(value):
        raise _malformed(response, "$: the token is not printable ASCII without spaces")
    return FetchedToken(Secret(value), _lifetime(body.get("expiresIn")))


def _parse(response: Response) -> Mapping[str, Any]:
    try:
        parsed = parse(response.body)
    except JsonError:
        parsed = None
    if not isinstance(parsed, dict):
        raise _malformed(response, "$: not a JSON object")
    return parsed


def _malformed(response: Response, problem: str) -> DecodingError:
    return DecodingError(
        "the response of the token endpoint does not match the contract",
        problems=[problem],
        request_id=request_id(response.headers),
    )


def _lifetime(expires_in: object) -> float:
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool) and expires_in > 0:
        return float(expires_in)
    # A missing or unusable lifetime is read as the documented hour. If that is too long, an early 401 is repaired by a
    # replay. A token that expires at once would be fetched again for every call.
    return _DOCUMENTED_LIFETIME
