"""Alembic's entry point: applies the versions over the connection that `tidemark.local.database.migrate` hands in."""

from alembic import context

# No autogeneration: the SQL in versions/ is the schema, and there is no second description of it to compare with.
connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
