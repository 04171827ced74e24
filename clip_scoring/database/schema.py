"""The version of schema `clip`: upgrade it, or refuse to work on another one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from clip_scoring.database.connection import transaction
from clip_scoring.errors import SchemaMismatch

SCHEMA_VERSION = "0004"


def upgrade(engine: Engine) -> str:
    """Bring schema `clip` to this version's; safe to repeat and to run twice at once."""
    config = Config()
    migrations = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    with transaction(engine, statement_timeout="0") as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('clip.schema', 0))"))
        # IF NOT EXISTS would ask for the right to create schemas even where there is nothing to do.
        if connection.scalar(text("SELECT to_regnamespace('clip') IS NULL")):
            connection.execute(text("CREATE SCHEMA clip"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return SCHEMA_VERSION


def require_current(engine: Engine) -> None:
    """Raise SchemaMismatch unless the schema is exactly this version's."""
    with transaction(engine) as connection:
        known = connection.scalar(text("SELECT to_regclass('clip.schema_version') IS NOT NULL"))
        version = (
            connection.scalar(text("SELECT version_num FROM clip.schema_version"))
            if known
            else None
        )
    if version != SCHEMA_VERSION:
        raise SchemaMismatch(
            f"database schema clip is at version {version or 'none'}, this program needs "
            f"{SCHEMA_VERSION}: run `clip-scoring db upgrade`"
            + (" with the newer program" if version and version > SCHEMA_VERSION else "")
        )
