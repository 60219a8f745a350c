"""Which credentials a tenant has, by the settings. Where a secret is read stands in `secret_sources`."""

from collections.abc import Sequence
from typing import Final, Literal

from attrs import frozen

from connector_async.auth import ClientCredentials, Secret, StaticToken, TokenProvider

from .secret_sources import SecretReader, SecretSource
from .settings import Settings, SettingsError, Value, Values

_Kind = Literal["value", "file", "command"]
_SUFFIXES: Final[Sequence[tuple[str, _Kind]]] = (("", "value"), ("_file", "file"), ("_command", "command"))


@frozen(kw_only=True)
class CredentialSource:
    """Where the credentials of a tenant are."""

    client_id: str | None
    """`None`: they are a token."""
    secret: SecretSource
    """Where the client's secret or the token is."""


def credentials_for(tenant_id: str, settings: Settings, secrets: SecretReader) -> TokenProvider:
    """Return what gives the tokens of a tenant.

    It reads a file or runs a command, once for all the tenants that share them: call it in a thread where an event
    loop has other work. Those of equal credentials are equal, so that sessions share their tokens.

    Args:
        tenant_id: Whose.
        settings: Say where they are.
        secrets: Reads them.

    Raises:
        SettingsError: There are none, or they cannot be read; the message names the settings.
    """
    source = credential_source(tenant_id, settings)
    secret = secrets.read(source.secret)
    try:
        return StaticToken(secret) if source.client_id is None else ClientCredentials(source.client_id, secret)
    except ValueError as error:
        raise SettingsError(f"{source.secret}: {error}") from None


def credential_source(tenant_id: str, settings: Settings) -> CredentialSource:
    """Return where the credentials of a tenant are: in its own tables, or else in the general settings.

    The first layer that names any says whether they are a token or a client's.

    Raises:
        SettingsError: There are none, or a layer names too many.
    """
    layers = [*settings.tenants.get(tenant_id, ()), *settings.general]
    for layer in layers:
        token, secret = _source(layer, "token"), _source(layer, "client_secret")
        client = layer.get("client_id") or (layer[secret.name] if secret else None)
        if token is not None and client is not None:
            raise SettingsError(f"{token} must not be set beside client_id or client_secret ({client.origin})")
        if token is not None:
            return CredentialSource(client_id=None, secret=token)
        if client is not None:
            return CredentialSource(client_id=_client_id(layers), secret=_client_secret(layers))
    raise SettingsError(
        f"there are no credentials for the tenant {tenant_id}: set client_id with client_secret_file or "
        "client_secret_command, or CONNECTOR_CLIENT_ID with CONNECTOR_CLIENT_SECRET, or CONNECTOR_TOKEN"
    )


def _client_id(layers: Sequence[Values]) -> str:
    found: Value | None = next((layer["client_id"] for layer in layers if "client_id" in layer), None)
    if found is None:
        raise SettingsError("client_id must be set with a client_secret: by CONNECTOR_CLIENT_ID or in a TOML file")
    return str(found.value)


def _client_secret(layers: Sequence[Values]) -> SecretSource:
    found = next(filter(None, (_source(layer, "client_secret") for layer in layers)), None)
    if found is None:
        raise SettingsError(
            "client_secret must be set with a client_id: by CONNECTOR_CLIENT_SECRET, or client_secret_file or "
            "client_secret_command in a TOML file"
        )
    return found


def _source(layer: Values, name: str) -> SecretSource | None:
    """Return where a layer says that a secret is; `None`: it says nothing."""
    sources = [
        SecretSource(name=name + suffix, kind=kind, text=Secret(value.value), origin=value.origin, folder=value.folder)
        for suffix, kind in _SUFFIXES
        if (value := layer.get(name + suffix)) is not None
    ]
    if len(sources) > 1:
        raise SettingsError(f"{sources[0]} must not be set beside {sources[1]}")
    return sources[0] if sources else None
