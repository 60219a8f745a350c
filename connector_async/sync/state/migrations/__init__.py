"""The Alembic environment of the state's tables. It is run by `migrate.upgrade` alone, and has no `alembic.ini`."""
