"""Alembic's entry: runs the migrations on the connection that `syncserver.storage.schema` opened."""

from alembic import context

from syncserver import resources
from syncserver.storage import tables

resources.catalog()  # every resource adds its table to the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
