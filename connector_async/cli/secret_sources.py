"""Reads a secret from the environment, a file, a keyring, or the output of a command, as the settings say.

No message holds the secret or the output of a command.
"""

import os
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from attrs import frozen

from connector_async._checks import check_text
from connector_async.auth import Secret

from .settings import SettingsError, split_command

SecretKind = Literal["value", "file", "command", "keyring"]

_MODE_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
KEYRING_SERVICE: Final = "connector-async"
_PATIENCE: Final = 1.0  # seconds
_MAX_BYTES: Final = 64 * 1024


@frozen(kw_only=True)
class SecretSource:
    """Where a secret is."""

    name: str
    """The setting, such as `token_file`."""
    kind: SecretKind
    value: Secret
    """The value of the setting: the secret itself, the path, the command, or the user name in the keyring."""
    origin: str
    """Where the setting is set."""
    folder: Path
    """The folder that a relative path starts from."""

    def __str__(self) -> str:
        return f"{self.name} ({self.origin})"


class SecretReader:
    """Reads each secret once, even if several tenants share it. It may be used from several threads.

    Args:
        warn: Called with a message about each file that others can read.
        timeout: Seconds after which a command is killed.
    """

    def __init__(self, warn: Callable[[str], None], *, timeout: float = 10) -> None:
        self._warn = warn
        self._timeout = timeout
        self._results: dict[SecretSource, str | SettingsError] = {}
        self._locks: dict[SecretSource, threading.Lock] = {}

    def read(self, source: SecretSource) -> str:
        """Return the secret; of a file and of the output of a command, the first line.

        Raises:
            SettingsError: If the file or the command cannot be read or run, or the first line is not usable.
        """
        with self._locks.setdefault(source, threading.Lock()):
            if source not in self._results:
                self._results[source] = self._secret_or_error(source)
            result = self._results[source]
        if isinstance(result, SettingsError):
            raise SettingsError(*result.args)  # a new one: raising adds a traceback to it
        return result

    def _secret_or_error(self, source: SecretSource) -> str | SettingsError:
        try:
            return self._secret(source)
        except SettingsError as error:
            return error

    def _secret(self, source: SecretSource) -> str:
        value = source.value.reveal()
        if source.kind == "value":
            return value
        if source.kind == "keyring":
            return check_text("the secret", read_from_keyring(value, str(source)))
        content = self._file_content(source, value) if source.kind == "file" else self._output(source, value)
        try:
            line = content.decode("utf-8").partition("\n")[0].removesuffix("\r")
            return check_text("its first line", line)
        except UnicodeDecodeError:
            raise SettingsError(f"{source}: its first line must be UTF-8") from None
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from None

    def _file_content(self, source: SecretSource, name: str) -> bytes:
        try:
            path = source.folder / Path(name).expanduser()
            mode = path.stat().st_mode
            with os.fdopen(_open_without_waiting(path), "rb") as file:
                content = file.read(_MAX_BYTES)
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: ~user; ValueError: a NUL
            reason = getattr(error, "strerror", None) or "not a path"
            raise SettingsError(f"{source}: the file cannot be read: {reason}") from None
        if hasattr(os, "geteuid") and mode & _MODE_OF_OTHERS:  # Windows has access lists instead of a mode
            self._warn(f"{source}: others can access the file; chmod 600 restricts it to you")
        return content

    def _output(self, source: SecretSource, command: str) -> bytes:
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell; the command is the user's own setting
                split_command(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a command"
            raise SettingsError(f"{source}: the command cannot be run: {reason}") from None
        with process:
            try:
                output = self._read_patiently(process, source)
            except subprocess.TimeoutExpired:
                # Its children are not killed and may keep the pipe open, so the pipe is not read to its end.
                process.kill()
                raise SettingsError(f"{source}: the command took longer than {self._timeout:g} s") from None
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise SettingsError(f"{source}: the command failed with exit code {process.returncode}")
        return output

    def _read_patiently(self, process: "subprocess.Popen[bytes]", source: SecretSource) -> bytes:
        """Return the output of a process, and say after a second that it is awaited."""
        try:
            return process.communicate(timeout=min(_PATIENCE, self._timeout))[0]
        except subprocess.TimeoutExpired:
            if self._timeout <= _PATIENCE:
                raise
        self._warn(f"waiting for {source}")
        return process.communicate(timeout=self._timeout - _PATIENCE)[0]


def keyring_backend() -> Any:
    """Return the module `keyring` if it is installed and has a usable backend, and otherwise `None`.

    Raises:
        SettingsError: If the backend cannot be loaded that the environment or the settings of `keyring` name.
    """
    try:
        import keyring  # noqa: PLC0415 - it is optional, and slow to import
    except ImportError:
        return None
    try:
        return keyring if keyring.get_keyring().priority > 0 else None
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # its name is wrong
        reason = f"{type(error).__name__}: {error}"
    raise SettingsError(f"the keyring cannot be loaded: {reason}; PYTHON_KEYRING_BACKEND names another one")


def read_from_keyring(user: str, place: str) -> str:
    """Return the secret of a user name in the keyring.

    Raises:
        SettingsError: If there is no keyring or no such secret. The message starts with `place`.
    """
    keyring = keyring_backend()
    if keyring is None:
        raise SettingsError(
            f"{place}: there is no keyring: pip install 'connector-async[keyring]', and a keyring of the system"
        )
    try:
        secret: str | None = keyring.get_password(KEYRING_SERVICE, user)
    except keyring.errors.KeyringError:
        raise SettingsError(f"{place}: the keyring cannot be read") from None
    if secret is None:
        raise SettingsError(f"{place}: the keyring has no such secret; connector-async auth login stores it")
    return secret


def _open_without_waiting(path: Path) -> int:
    """Open a file, or a pipe such as a shell's `<(command)`. A pipe without a writer is empty; nobody waits for one."""
    if not hasattr(os, "O_NONBLOCK"):  # on Windows
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor
