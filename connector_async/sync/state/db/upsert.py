"""The one statement that each kind of database writes in its own way."""

import functools
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Insert, Table


def upsert(dialect: str, table: Table, again: Mapping[str, Any] | None = None) -> Insert:
    """Return the statement that inserts rows, and replaces those that have the same primary key.

    Args:
        dialect: The name of the connection's dialect.
        table: One that has a primary key, and other columns. The rows are given to `execute` as its parameters, each
            with every column: one that is left out becomes `NULL`.
        again: The values, or expressions of the table's columns, that a row of the same primary key gets instead;
            `None`: those of the new row.

    Raises:
        ValueError: Of that dialect it is not known how.
    """
    return _upsert(dialect, table) if again is None else _on_conflict(dialect, table, again)


@functools.cache  # to build it takes longer than to execute it
def _upsert(dialect: str, table: Table) -> Insert:
    return _on_conflict(dialect, table, None)


def _on_conflict(dialect: str, table: Table, again: Mapping[str, Any] | None) -> Insert:
    # Imported here: no more than one of them is needed.
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415
    elif dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]  # noqa: PLC0415
    else:
        raise ValueError(f"a state cannot be kept in {dialect}")
    statement = insert(table)
    if again is None:
        again = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=again)
