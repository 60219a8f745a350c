"""Upgrades of a state to the current revision of its tables, before anything else uses it. All functions block.

Alembic is imported only if a state is created or upgraded.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, exc

from connector_async.sync.exceptions import StateError, StateVersionError
from connector_async.sync.state.schema import REVISIONS

from . import postgres
from .errors import database_errors, file_errors
from .integrity import check_integrity
from .location import Location
from .permissions import beside, create_private, make_private
from .sqlite import copy_database, migration_engine, read_revision

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

_MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"
VERSION_LOCATIONS: Final = [_MIGRATIONS / "versions"]
"""The folders of the revisions."""

_ONE_AT_A_TIME: Final = threading.Lock()  # `alembic.op` and `alembic.context` are global


def create_or_upgrade(location: Location) -> None:
    """Create a state, or upgrade it. Before the upgrade, a state that is a file is copied to a file beside it.

    The caller must hold the lock of a state that is a file. Processes that open a state on PostgreSQL wait for the one
    that upgrades it.

    Raises:
        StateVersionError: If a newer version has written the state. The state is unchanged.
        StateDamagedError: If the state is damaged.
        StateError: If the state cannot be read or upgraded, or is something else. It is unchanged.
    """
    if location.path is None:
        revision = postgres.read_revision(location)
        _check_known(location, revision)
        if revision != REVISIONS[-1]:
            _upgrade(location, postgres.migration_engine(location))
        return
    revision = read_revision(location.path)
    _check_known(location, revision)
    with file_errors(location):
        if revision is None:
            create_private(location.path)
        for suffix in ("", "-wal", "-shm"):
            make_private(beside(location.path, suffix))
    if revision == REVISIONS[-1]:
        check_integrity(location.path)
        return
    if revision is not None:
        copy_database(location.path, beside(location.path, f".backup-{revision}"))
    _upgrade(location, migration_engine(location.path))


def check_ready(location: Location) -> None:
    """Raise if a state cannot be read without an upgrade.

    Raises:
        StateVersionError: If a newer or an older version has written the state.
        StateError: If there is no state, it cannot be read, or the file is something else.
    """
    revision = postgres.read_revision(location) if location.path is None else read_revision(location.path)
    if revision is None:
        raise StateError(f"{location}: there is no state")
    _check_known(location, revision)
    if revision != REVISIONS[-1]:
        raise StateVersionError(f"{location}: an older version has written it; it must be upgraded by a run first")


def script_directory() -> "ScriptDirectory":
    """Return the revisions as Alembic has them, without a configuration file."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    return ScriptDirectory(str(_MIGRATIONS), version_locations=[str(folder) for folder in VERSION_LOCATIONS])


def _check_known(location: Location, revision: str | None) -> None:
    if revision is not None and revision not in REVISIONS:
        raise StateVersionError(f"{location}: a newer version has written it (revision {revision})")


def _upgrade(location: Location, engine: Engine) -> None:
    """Run the missing revisions in one transaction.

    Raises:
        StateError: If a revision fails. The state is unchanged.
    """
    scripts = script_directory()
    try:
        with _ONE_AT_A_TIME, database_errors(location), engine.begin() as connection:
            if location.path is None:
                postgres.lock_upgrades(connection)
            _run_revisions(connection, scripts)
    except StateError as error:
        raise type(error)(f"{error}; the upgrade failed, and the state is unchanged") from None
    except exc.SQLAlchemyError as error:  # its message has SQL
        raise StateError(_failure(location, error)) from None
    except Exception as error:
        raise StateError(_failure(location, error)) from error
    finally:
        engine.dispose()


def _failure(location: Location, error: Exception) -> str:
    return f"{location}: the upgrade failed ({type(error).__name__}), and the state is unchanged"


def _run_revisions(connection: Connection, scripts: "ScriptDirectory") -> None:
    from alembic.config import Config  # noqa: PLC0415 - see above
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415

    config = Config()
    config.attributes["connection"] = connection

    def missing_revisions(revision: Any, _context: object) -> Any:
        return scripts._upgrade_revs(REVISIONS[-1], revision)  # noqa: SLF001 - as alembic.command does

    with EnvironmentContext(config, scripts, fn=missing_revisions):
        scripts.run_env()
