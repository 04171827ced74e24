"""Records into the default source, `clip.record`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from clip_scoring.database.connection import query, transaction


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A pair as it enters `clip.record`; `created_at` is its event time."""

    key: int
    image_uri: str
    caption: str
    created_at: datetime


def load_records(engine: Engine, records: Sequence[NewRecord]) -> int:
    """Insert records, update those that changed, and return how many rows were touched."""
    with transaction(engine) as connection:
        loaded = connection.execute(
            query("load_records"),
            {
                "keys": [record.key for record in records],
                "image_uris": [record.image_uri for record in records],
                "captions": [record.caption for record in records],
                "created": [record.created_at for record in records],
            },
        )
    return loaded.rowcount
