"""The commands `configure` and `auth login`: they ask for settings, test the credentials, and store both.

A secret is typed without an echo, or is a line of the standard input. It is never printed.
"""

import asyncio
import getpass
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from connector_async.auth import ClientCredentials, Secret

from .auth import fetch_token
from .config_sources import PROFILE_VARIABLE, read_settings, user_file
from .connect import open_session
from .exit_codes import ExitCode
from .messages import print_message
from .options import DEFAULT_CONNECTION, ConnectionOptions
from .secret_sources import KEYRING_SERVICE, keyring_backend
from .settings import Settings, SettingsError
from .settings_file import write_private, write_settings

_PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")

_NoKeyring = Annotated[
    bool,
    Parameter(negative="", help="Store the secret in a file of mode 0600, also beside a keyring."),
]


async def configure(*, no_keyring: _NoKeyring = False, connection: ConnectionOptions = DEFAULT_CONNECTION) -> ExitCode:
    """Ask for the server, the tenant and the credentials, test them, and write the user's settings file.

    With --profile, they are written to that profile. The secret goes to the keyring or to a file of mode 0600.
    """
    profile = _checked_profile(connection)
    options = connection.as_settings()
    settings = _present_settings(options, profile)
    answers = {
        name: _ask(question, settings.get(name))
        for name, question in (
            ("base_url", "The URL of the API"),
            ("tenant_id", "The tenant"),
            ("format", "The format of the server, guide or reference"),
        )
    }
    return await _log_in(options | answers, answers, profile, no_keyring=no_keyring)


async def login(*, no_keyring: _NoKeyring = False, connection: ConnectionOptions = DEFAULT_CONNECTION) -> ExitCode:
    """Ask for the credentials of the client, test them, and store them in the user's settings.

    The server and the tenant are those of the settings. The secret goes to the keyring or to a file of mode 0600.
    """
    return await _log_in(connection.as_settings(), {}, _checked_profile(connection), no_keyring=no_keyring)


async def _log_in(
    options: dict[str, Any], answers: dict[str, str], profile: str | None, *, no_keyring: bool
) -> ExitCode:
    settings = _present_settings(options, profile)
    tenant_id = settings.required("tenant_id")
    settings.required("base_url")
    client_id = _ask("The client id", settings.get("client_id"))
    secret = Secret(await asyncio.to_thread(_ask_secret))
    async with open_session(settings, tenant_id, auth=ClientCredentials(client_id, secret.reveal())) as session:
        await fetch_token(session)
    path = user_file(os.environ)
    place = _store(secret, path.parent, profile, no_keyring=no_keyring)
    write_settings(path, {**answers, "client_id": client_id, **place}, profile=profile, private=True)
    print_message(f"the credentials work; {path} was written" + (f", profile {profile}" if profile else ""))
    return ExitCode.DONE


def _store(secret: Secret, folder: Path, profile: str | None, *, no_keyring: bool) -> dict[str, str | None]:
    """Store a secret, and return the settings that say where it is."""
    name = profile or "default"
    keyring = None if no_keyring else keyring_backend()
    if keyring is not None:
        try:
            keyring.set_password(KEYRING_SERVICE, name, secret.reveal())
        except keyring.errors.KeyringError:
            print_message("the keyring cannot be written; a file is used")
        else:
            return {"client_secret_keyring": name, "client_secret_file": None, "client_secret_command": None}
    path = folder / "secrets" / name
    write_private(path, f"{secret.reveal()}\n")
    return {"client_secret_file": f"secrets/{name}", "client_secret_keyring": None, "client_secret_command": None}


def _checked_profile(connection: ConnectionOptions) -> str | None:
    profile = connection.profile or os.environ.get(PROFILE_VARIABLE) or None
    if profile is not None and not _PROFILE_NAME.fullmatch(profile):
        raise SettingsError("--profile must have letters, digits, hyphens and underscores only")
    return profile


def _present_settings(options: dict[str, Any], profile: str | None) -> Settings:
    """Return the settings as they are, also for a profile that does not exist yet."""
    try:
        return read_settings(options)
    except SettingsError as error:
        if profile is None or "there is no profile" not in str(error):
            raise
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    return read_settings(options | {"profile": None}, environment=environment)


def _ask(question: str, default: str | None) -> str:
    """Ask on the standard error stream, and return a line of the standard input or the default."""
    shown = "" if default is None else f" [{default}]"
    sys.stderr.write(f"{question}{shown}: ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip() or default
    if not answer:
        raise SettingsError(f"an answer is needed: {question.lower()}")
    return answer


def _ask_secret() -> str:
    question = "The client secret: "
    if sys.stdin.isatty():
        secret = getpass.getpass(question, stream=sys.stderr)
    else:
        secret = sys.stdin.readline().removesuffix("\n")
    if not secret:
        raise SettingsError("an answer is needed: the client secret")
    return secret
