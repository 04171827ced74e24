"""The library behind the pages in the Airflow UI: reports, and records by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clip_scoring.database import schema
from clip_scoring.database.connection import Database, connect_engine
from clip_scoring.database.pages import PostgresPages, RunFilter
from clip_scoring.records import Record
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.registrations import SourceRegistration, TablePlace
from clip_scoring.wiring import open_source

__all__ = ["Pages", "RunFilter"]

_CONNECTIONS = 4
_LONGEST_TEXT = 2000


class Pages:
    """Reads under the rights of the connection that the settings give; writes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Database = connect_engine(settings.require_database_url(), kept=_CONNECTIONS)
        schema.require_current(self._engine)
        self.reports = PostgresPages(self._engine)
        self.sources = tuple(settings.registrations.sources)

    def finds_many(self, source: str) -> bool:
        """Whether records of the source can be looked up in number: rows of tables can."""
        registered = self._settings.registrations.sources.get(source)
        return registered is not None and isinstance(registered.place, TablePlace)

    def find(self, source: str, record_keys: Sequence[str]) -> Mapping[str, Record]:
        """The records of these names as they are now; their texts are cut to what a page shows."""
        opened = open_source(self._settings, self._engine, source)
        return opened.find(record_keys, longest=_LONGEST_TEXT)

    def registration(self, source: str) -> SourceRegistration:
        """How the source is registered; raises SettingsInvalid when it is not."""
        return self._settings.registrations.source(source)
