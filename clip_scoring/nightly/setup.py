"""Set the database up: its schema, its roles, the sample records."""

from __future__ import annotations

from pathlib import Path

from clip_scoring.database import roles, schema
from clip_scoring.database.connection import connect_engine
from clip_scoring.database.records_table import NewRecord, load_records
from clip_scoring.sample.records import write_manifest, write_sample
from clip_scoring.settings.environment import Settings
from clip_scoring.wiring import current_database


def upgrade_database(settings: Settings) -> str:
    """Bring schema `clip` to this program's version and return it."""
    return schema.upgrade(connect_engine(settings.require_database_url()))


def grant_roles(settings: Settings) -> None:
    """Create the group roles where they are missing and give each exactly its rights."""
    roles.grant_roles(connect_engine(settings.require_database_url()))


def load_sample(settings: Settings, folder: Path) -> int:
    """Render the sample records below `folder`, put them into `clip.record`, count the changes."""
    engine = current_database(settings)
    sample = write_sample(folder)
    write_manifest(folder, sample)
    return load_records(
        engine,
        [
            NewRecord(member.key, member.image_uri, member.caption, member.created_at)
            for member in sample
        ],
    )
