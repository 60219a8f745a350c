"""Reading and changing the rows of a state from outside, whatever its database is."""

from pathlib import Path
from typing import Any

from connector_async.sync.state.db import postgres, sqlite
from connector_async.sync.state.db.location import Location


def execute(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Execute a statement in a transaction of its own, and return its rows."""
    location = Location.parse(path)
    engine = sqlite.migration_engine(location.path) if location.path else postgres.migration_engine(location)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


def drop_tables(path: Path) -> None:
    """Make the database of a state that is in PostgreSQL an empty one."""
    if Location.parse(path).path is None:
        execute(path, "DROP SCHEMA public CASCADE")
        execute(path, "CREATE SCHEMA public")


def location_of(path: Path) -> str:
    """Return the path, or the URL of its database, for another process."""
    location = Location.parse(path)
    return str(path) if location.path else location.url.render_as_string(hide_password=False)
