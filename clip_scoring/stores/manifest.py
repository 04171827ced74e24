"""The manifest of file sources: every version of every file, and the keys of its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from sqlalchemy import Engine

from clip_scoring.runs import Window
from clip_scoring.stores.database import query, transaction
from clip_scoring.stores.objects import Mark, StoredObject, Survey


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One file in the manifest; row `n` has the key `first_key + n`."""

    stored: StoredObject
    survey: Survey
    first_key: int

    @property
    def stop_key(self) -> int:
        """The first key behind the file's rows."""
        return self.first_key + self.survey.rows


class Manifest:
    """The files of one source; a key once given always means the same row of the same version."""

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source

    def unknown(self, found: Iterable[StoredObject]) -> list[StoredObject]:
        """Which of the files that were found are not in the manifest as they are now."""
        found = list(found)
        with transaction(self._engine) as connection:
            rows = connection.execute(query("known_versions"), self._versions(found))
            known = {(row.uri, row.version) for row in rows}
        return [each for each in found if (each.uri, each.version) not in known]

    def add(self, stored: StoredObject, survey: Survey) -> None:
        """Give keys to the rows of a new version; without effect when it has them."""
        with transaction(self._engine) as connection:
            connection.execute(query("lock_manifest"), {"source": self._source})
            connection.execute(
                query("add_object"),
                {
                    "source": self._source,
                    "uri": stored.uri,
                    "version": stored.version,
                    "size": stored.size,
                    "event_time": stored.event_time,
                    "rows": survey.rows,
                    "marks": json.dumps([astuple(mark) for mark in survey.marks]),
                },
            )

    def settle(self, window: Window, found: Iterable[StoredObject]) -> None:
        """From now on the files of the window are those that were found, and no others."""
        values = {**self._versions(found), "window_start": window.start, "window_stop": window.stop}
        with transaction(self._engine, statement_timeout="10min") as connection:
            connection.execute(query("retire_objects"), values)
            connection.execute(query("return_objects"), values)

    def of_keys(self, start: int, stop: int) -> list[ListedObject]:
        """The files that hold keys from `start` up to `stop`, in the order of their keys."""
        keys = {"source": self._source, "start": start, "stop": stop}
        with transaction(self._engine) as connection:
            return [
                ListedObject(
                    StoredObject(row.uri, row.version, row.size, row.event_time),
                    Survey(row.rows, tuple(Mark(*mark) for mark in row.marks)),
                    row.first_key,
                )
                for row in connection.execute(query("objects_of_keys"), keys)
            ]

    def _versions(self, found: Iterable[StoredObject]) -> dict[str, object]:
        found = list(found)
        return {
            "source": self._source,
            "uris": [each.uri for each in found],
            "versions": [each.version for each in found],
        }
