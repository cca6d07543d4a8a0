"""What Alembic runs: the migrations on the connection handed in by ``service.storage.migrate``."""

from alembic import context

from service.storage import office_tables, tables
from service.storage.base import Base

_KNOWN = (tables, office_tables)  # imported so that Base knows them

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, compare_type=True)
context.run_migrations()
