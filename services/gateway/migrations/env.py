"""How Alembic runs the migrations: on the connection and schema that `runtime.database` gives."""

from alembic import context

config = context.config
context.configure(
    connection=config.attributes["connection"],
    version_table_schema=config.attributes["schema"],
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
