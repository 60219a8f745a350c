"""PostgreSQL only: keys that sort by code point, as Python sorts them, and integers of 64 bits."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TABLES = (
    "serial",
    "leases",
    "target",
    "runs",
    "cells",
    "items",
    "intents",
    "dead_letters",
    "failures",
    "archived",
    "desired",
    "pulled",
)
_COUNTED = (("dead_letters", "dead_letter_id"), ("archived", "archived_id"))


def upgrade() -> None:
    """Change the types of the columns. With the collation of the database, a page of keys would skip some of them."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    inspector = sa.inspect(connection)
    for table in _TABLES:
        changes = []
        for column in inspector.get_columns(table):
            if isinstance(column["type"], sa.Text):
                changes.append(f'ALTER COLUMN {column["name"]} TYPE text COLLATE "C"')
            elif isinstance(column["type"], sa.Integer):
                changes.append(f"ALTER COLUMN {column['name']} TYPE bigint")
        op.execute(f"ALTER TABLE {table} {', '.join(changes)}")
    for table, key in _COUNTED:
        op.execute(f"ALTER SEQUENCE {table}_{key}_seq AS bigint")


def downgrade() -> None:
    """Raise, as the copy from before the upgrade is the way back."""
    raise NotImplementedError("a state cannot be downgraded; use the copy from before the upgrade")
