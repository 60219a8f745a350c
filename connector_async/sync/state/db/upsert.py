"""The one statement that differs between the kinds of databases: insert a row, or update it if it exists."""

import functools
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Dialect, Insert, Table
from sqlalchemy.sql.elements import ColumnElement


def upsert(
    dialect: str,
    table: Table,
    on_conflict: Mapping[str, Any] | None = None,
    *,
    where: ColumnElement[bool] | None = None,
) -> Insert:
    """Return the statement that inserts rows, and updates those with an existing primary key.

    Args:
        dialect: The name of the connection's dialect.
        table: A table with a primary key and other columns. Its rows are the parameters of the statement, each with
            every column: a column that is left out becomes `NULL`.
        on_conflict: The values that an existing row gets: plain values, or expressions of the table's columns; `None`:
            the values of the new row.
        where: Which existing rows get them; `None`: all.

    Raises:
        ValueError: If the dialect is not supported.
    """
    return _upsert(dialect, table) if on_conflict is None else _build(dialect, table, on_conflict, where)


def positional_sql(statement: Insert, dialect: Dialect) -> str:
    """Return the SQL of a statement whose parameters are the values of all columns, in order."""
    paramstyle = "qmark" if dialect.name == "sqlite" else "format"
    positional = type(dialect)(paramstyle=paramstyle)  # type: ignore[call-arg]  # every dialect of a database takes it
    return str(statement.compile(dialect=positional))


@functools.cache  # building it takes longer than executing it
def _upsert(dialect: str, table: Table) -> Insert:
    return _build(dialect, table, None, None)


def _build(
    dialect: str, table: Table, on_conflict: Mapping[str, Any] | None, where: ColumnElement[bool] | None
) -> Insert:
    # Imported here, since only one of them is needed.
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415
    elif dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]  # noqa: PLC0415
    else:
        raise ValueError(f"a state cannot be kept in {dialect}")
    statement = insert(table)
    if on_conflict is None:
        on_conflict = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=on_conflict, where=where)
