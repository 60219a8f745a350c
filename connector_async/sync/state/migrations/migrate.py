"""Running the revisions that a state lacks, all in one transaction."""

import threading
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, exc

from connector_async.sync.exceptions import StateError
from connector_async.sync.state.db.errors import database_errors
from connector_async.sync.state.schema import REVISIONS

ENVIRONMENT: Final = Path(__file__).parent
"""Where the environment is."""
VERSION_LOCATIONS: Final = [ENVIRONMENT / "versions"]
"""The folders of the revisions."""

_ONE_AT_A_TIME: Final = threading.Lock()  # `alembic.op` and `alembic.context` are one for the whole process


def script_directory() -> ScriptDirectory:
    """Return the revisions, without a file of options."""
    return ScriptDirectory(str(ENVIRONMENT), version_locations=[str(folder) for folder in VERSION_LOCATIONS])


def upgrade(engine: Engine, *, place: object) -> None:
    """Run the revisions that a state lacks.

    Args:
        engine: Of the state; its transactions take changes of tables as a whole or not at all.
        place: The state, to name in messages.

    Raises:
        StateError: One of them failed; the state is as it was. The cause is there unless it is the database's.
    """
    try:
        with _ONE_AT_A_TIME, database_errors(place), engine.begin() as connection:
            _run(connection)
    except StateError as error:
        raise type(error)(f"{error}; it could not be upgraded, and is as it was") from None
    except exc.SQLAlchemyError as error:  # its text is SQL
        raise StateError(f"{place}: it could not be upgraded ({type(error).__name__}), and is as it was") from None
    except Exception as error:
        raise StateError(f"{place}: it could not be upgraded ({type(error).__name__}), and is as it was") from error


def _run(connection: Connection) -> None:
    scripts, config = script_directory(), Config()
    config.attributes["connection"] = connection

    def missing(revision: Any, _context: object) -> Any:
        return scripts._upgrade_revs(REVISIONS[-1], revision)  # noqa: SLF001 - what alembic.command does, too

    with EnvironmentContext(config, scripts, fn=missing):
        scripts.run_env()
