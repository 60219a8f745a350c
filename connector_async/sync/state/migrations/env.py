"""What Alembic runs the revisions in: the transaction that `migrate.upgrade` has begun."""

from alembic import context

from connector_async.sync.state.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # Alembic takes SQLite for unable to; it is able once the driver begins no transactions
    render_as_batch=True,
)
context.run_migrations()
