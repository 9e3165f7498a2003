"""Run by Alembic inside the store's own connection and transaction."""

from alembic import context

from evident_core.web.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
