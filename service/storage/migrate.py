"""Bringing a database to the tables of this version; safe to call from several workers at once."""

from __future__ import annotations

from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from service.storage.errors import StorageUnavailableError

_LOCK = 0x7472696167  # PostgreSQL's number of our migration lock


def upgrade(engine: Engine) -> None:
    """Create or migrate the tables, all or nothing. Raises StorageUnavailableError for a newer database."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        try:
            command.upgrade(_config(connection), "head")
        except (CommandError, RevisionError) as error:
            raise StorageUnavailableError("数据库由更新的程序版本建立；请改用不低于它的版本，或从备份恢复。") from error


def is_current(engine: Engine) -> bool:
    """Return whether the database has the tables of this version."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        found = set(connection.scalars(text("SELECT version_num FROM alembic_version")))
        return found == set(ScriptDirectory.from_config(_config(connection)).get_heads())


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("service.storage") / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
