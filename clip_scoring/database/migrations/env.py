"""Runs the migrations on the connection that `schema.upgrade` passes in."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, version_table="schema_version", version_table_schema="clip"
)
with context.begin_transaction():
    context.run_migrations()
