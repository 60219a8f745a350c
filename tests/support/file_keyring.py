"""A backend of the package `keyring` that keeps the secrets in a file, for processes that the tests start."""

import json
import os
from pathlib import Path
from typing import Final

from keyring.backend import KeyringBackend
from keyring.compat import properties
from keyring.errors import KeyringLocked, PasswordDeleteError

FILE_VARIABLE: Final = "TEST_KEYRING_FILE"
"""The environment variable with the path of the file. If the file does not exist, the keyring is locked."""


class FileKeyring(KeyringBackend):
    """Keeps secrets in a JSON file, by service and user."""

    @properties.classproperty
    def priority(self) -> float:
        return 1

    def set_password(self, service: str, username: str, password: str) -> None:
        self._path.write_text(json.dumps(self._secrets() | {f"{service} {username}": password}))

    def get_password(self, service: str, username: str) -> str | None:
        return self._secrets().get(f"{service} {username}")

    def delete_password(self, service: str, username: str) -> None:
        raise PasswordDeleteError(f"{service} {username}")

    @property
    def _path(self) -> Path:
        return Path(os.environ[FILE_VARIABLE])

    def _secrets(self) -> dict[str, str]:
        if not self._path.exists():
            raise KeyringLocked
        secrets: dict[str, str] = json.loads(self._path.read_text())
        return secrets
