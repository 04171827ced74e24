"""The manifest of file sources: every version of every file, and the keys of its rows."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from clip_scoring.stores.objects import StoredObject, Survey


@dataclass(frozen=True, slots=True)
class Listed:
    """One file in the manifest; row `n` has the key `first_key + n`."""

    stored: StoredObject
    survey: Survey
    first_key: int


class Manifest:
    """The files of one source as planning sees them; keys are given once and never again."""

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source
