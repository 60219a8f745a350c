"""Reads a secret from where the settings say it is: the environment, a file, or what a command prints.

No message of it holds the secret, or what a command printed.
"""

import shlex
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from attrs import frozen

from connector_async._checks import check_text
from connector_async.auth import Secret

from .settings import SettingsError

_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LONGEST: Final = 64 * 1024


@frozen(kw_only=True)
class SecretSource:
    """Where a secret is."""

    name: str
    """The setting that says so, such as `token_file`."""
    kind: Literal["value", "file", "command"]
    text: Secret
    """The secret itself, the path, or the command."""
    origin: str
    """Where the setting stands."""
    folder: Path
    """What a relative path is relative to."""

    def __str__(self) -> str:
        return f"{self.name} ({self.origin})"


class SecretReader:
    """Reads each secret once, however many tenants share it, and in whatever threads.

    Args:
        warn: Told of files that others can read, one line each.
        timeout: Seconds that a command may take.
    """

    def __init__(self, warn: Callable[[str], None], *, timeout: float = 10) -> None:
        self._warn = warn
        self._timeout = timeout
        self._read: dict[SecretSource, str | SettingsError] = {}
        self._turns: dict[SecretSource, threading.Lock] = {}

    def read(self, source: SecretSource) -> str:
        """Return the secret: of a file or of what a command prints the first line.

        Raises:
            SettingsError: There is none.
        """
        with self._turns.setdefault(source, threading.Lock()):
            if source not in self._read:
                self._read[source] = self._first_line_or_error(source)
            read = self._read[source]
        if isinstance(read, SettingsError):
            raise SettingsError(*read.args)
        return read

    def _first_line_or_error(self, source: SecretSource) -> str | SettingsError:
        try:
            return self._first_line(source)
        except SettingsError as error:
            return error

    def _first_line(self, source: SecretSource) -> str:
        text = source.text.reveal()
        if source.kind == "value":
            return text
        content = self._file(source, text) if source.kind == "file" else self._output(source, text)
        try:
            line = content.decode("utf-8").partition("\n")[0].removesuffix("\r")
            return check_text("its first line", line)
        except UnicodeDecodeError:
            raise SettingsError(f"{source}: its first line must be UTF-8") from None
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from None

    def _file(self, source: SecretSource, text: str) -> bytes:
        try:
            path = source.folder / Path(text).expanduser()
            mode = path.stat().st_mode
            with path.open("rb") as file:
                content = file.read(_LONGEST)
        except (OSError, RuntimeError, ValueError) as error:  # the latter two of a path that cannot be one
            reason = getattr(error, "strerror", None) or "not a path"
            raise SettingsError(f"{source}: the file cannot be read: {reason}") from None
        if mode & _FOR_OTHERS:
            self._warn(f"{source}: others may read the file; chmod 600 keeps it to you")
        return content

    def _output(self, source: SecretSource, text: str) -> bytes:
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell; what is run is the user's own setting
                shlex.split(text), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a command"
            raise SettingsError(f"{source}: the command cannot be run: {reason}") from None
        with process:
            try:
                output, _ = process.communicate(timeout=self._timeout)
            except subprocess.TimeoutExpired:
                process.kill()  # not its children, which may hold the pipe: so nothing more is read from it
                raise SettingsError(f"{source}: the command took longer than {self._timeout:g} s") from None
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise SettingsError(f"{source}: the command failed with status {process.returncode}")
        return output
