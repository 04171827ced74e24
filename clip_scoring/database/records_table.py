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
                "keys": [each.key for each in records],
                "image_uris": [each.image_uri for each in records],
                "captions": [each.caption for each in records],
                "created": [each.created_at for each in records],
            },
        )
    return loaded.rowcount
