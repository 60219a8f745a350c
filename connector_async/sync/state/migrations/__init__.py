"""The Alembic environment of the state's tables. Only `db.upgrade` runs it; there is no `alembic.ini`."""
