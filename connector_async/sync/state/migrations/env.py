"""The script in which Alembic runs the revisions, in the transaction that `db.upgrade` has started."""

from alembic import context

from connector_async.sync.state.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # Alembic assumes that SQLite cannot; it can if the driver starts no transactions
    render_as_batch=True,
)
context.run_migrations()
