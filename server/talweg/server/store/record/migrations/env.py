"""Run by Alembic for each command: migrates over the connection that it is given."""

from alembic import context

from talweg.server.store.record.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The transaction is the caller's; both databases undo DDL with it.
    transactional_ddl=True,
)
context.run_migrations()
