"""How Alembic executes revisions: on the connection of `frota.peers.database.migration`."""

from alembic import context

from frota.peers.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction, where the database has transactions for tables
)
context.run_migrations()
