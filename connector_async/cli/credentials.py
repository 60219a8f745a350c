"""Finds the credentials of a tenant in the settings. Secrets are read by `secret_sources`."""

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from connector_async.auth import ClientCredentials, Secret, StaticToken, TokenProvider

from .secret_sources import SecretKind, SecretReader, SecretSource
from .settings import Settings, SettingsError, Values

_SUFFIXES: Final[Sequence[tuple[str, SecretKind]]] = (
    ("", "value"),
    ("_file", "file"),
    ("_command", "command"),
    ("_keyring", "keyring"),
)


@frozen(kw_only=True)
class CredentialSource:
    """Where the credentials of a tenant are."""

    client_id: str | None
    """`None` means that the secret is a token."""
    secret: SecretSource
    """Where the client secret or the token is."""


def credentials_for(tenant_id: str, settings: Settings, secrets: SecretReader) -> TokenProvider:
    """Return the token provider of a tenant.

    It may read a file or run a command: beside other work of an event loop, call it in a thread. Providers with equal
    credentials are equal, so sessions share their tokens.

    Raises:
        SettingsError: If the settings hold no credentials for the tenant, contradict each other, or name a secret
            that cannot be read. The message names the settings.
    """
    source = credential_source(tenant_id, settings)
    secret = secrets.read(source.secret)
    try:
        return StaticToken(secret) if source.client_id is None else ClientCredentials(source.client_id, secret)
    except ValueError as error:
        raise SettingsError(f"{source.secret}: {error}") from None


def credential_source(tenant_id: str, settings: Settings) -> CredentialSource:
    """Return where the credentials of a tenant are: in its own tables, or else in the general settings.

    The first layer that has any decides whether they are a token or a client's.

    Raises:
        SettingsError: If the settings hold no credentials for the tenant, or contradict each other.
    """
    layers = [*settings.tenants.get(tenant_id, ()), *settings.layers]
    for layer in layers:
        token, secret = _secret_source(layer, "token"), _secret_source(layer, "client_secret")
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
    for layer in layers:
        if "client_id" in layer:
            return str(layer["client_id"].value)
    raise SettingsError("client_id must be set with a client_secret: by CONNECTOR_CLIENT_ID or in a settings file")


def _client_secret(layers: Sequence[Values]) -> SecretSource:
    for layer in layers:
        if (source := _secret_source(layer, "client_secret")) is not None:
            return source
    raise SettingsError(
        "client_secret must be set with a client_id: by CONNECTOR_CLIENT_SECRET, or client_secret_file or "
        "client_secret_command in a settings file"
    )


def _secret_source(layer: Values, name: str) -> SecretSource | None:
    """Return where a layer says that a secret is, or `None`."""
    sources = [
        SecretSource(name=name + suffix, kind=kind, value=Secret(value.value), origin=value.origin, folder=value.folder)
        for suffix, kind in _SUFFIXES
        if (value := layer.get(name + suffix)) is not None
    ]
    if len(sources) > 1:
        raise SettingsError(f"{sources[0]} must not be set beside {sources[1]}")
    return sources[0] if sources else None
