"""A session's arguments from environment variables. It knows nothing of what a session does with them."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from connector_async.auth import ClientCredentials, StaticToken, TokenProvider


def from_environment(environment: Mapping[str, str], given: Collection[str]) -> dict[str, Any]:
    """Return the arguments that are not given, as the variables name them.

    Raises:
        ValueError: A variable is missing or empty, or both kinds of credentials are there; it names the variables.
    """
    readers: dict[str, Callable[[], object]] = {
        "base_url": lambda: _variable(environment, "CONNECTOR_BASE_URL"),
        "tenant_id": lambda: _variable(environment, "CONNECTOR_TENANT_ID"),
        "auth": lambda: _auth(environment),
    }
    return {argument: read() for argument, read in readers.items() if argument not in given}


def _auth(environment: Mapping[str, str]) -> TokenProvider:
    if not environment.get("CONNECTOR_TOKEN"):
        client_id = _variable(environment, "CONNECTOR_CLIENT_ID")
        return ClientCredentials(client_id, _variable(environment, "CONNECTOR_CLIENT_SECRET"))
    if environment.get("CONNECTOR_CLIENT_ID") or environment.get("CONNECTOR_CLIENT_SECRET"):
        raise ValueError("CONNECTOR_TOKEN must not be set beside CONNECTOR_CLIENT_ID or CONNECTOR_CLIENT_SECRET")
    return StaticToken(_variable(environment, "CONNECTOR_TOKEN"))


def _variable(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise ValueError(f"{name} must be set in the environment")
    return value
