"""The manifest of file sources: every version of every file, and the keys of its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import islice

from sqlalchemy import Connection, Engine

from clip_scoring.database.connection import query, transaction
from clip_scoring.errors import ObjectUnreadable
from clip_scoring.records import Record
from clip_scoring.runs import Window
from clip_scoring.sources.stored_objects import Mark, Row, StoredObject, Survey

_NAMED_AT_ONCE = 10_000


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
    """The files of one source; a key once given always means the same row of the same version.

    `layout` says how rows are read, and is a part of the version: with other columns registered,
    every file is a new one.
    """

    def __init__(self, engine: Engine, source: str, *, layout: str) -> None:
        self._engine = engine
        self._source = source
        self._layout = f" as {layout}"

    def unknown(self, objects: Iterable[StoredObject]) -> list[StoredObject]:
        """Which of the files that were found are not in the manifest as they are now."""
        objects = list(objects)
        with transaction(self._engine) as connection:
            rows = connection.execute(query("known_versions"), self._versions(objects))
            known = {(row.uri, row.version) for row in rows}
        return [
            stored for stored in objects if (stored.uri, stored.version + self._layout) not in known
        ]

    def add(self, stored: StoredObject, survey: Survey, rows: Iterable[Row] = ()) -> None:
        """Give keys to the rows of a new version; without effect when it has them.

        `rows` are all of them where they have names. Raises ObjectUnreadable when two have one.
        """
        with transaction(self._engine, statement_timeout="10min") as connection:
            connection.execute(query("lock_manifest"), {"source": self._source})
            added = connection.execute(
                query("add_object"),
                {
                    "source": self._source,
                    "uri": stored.uri,
                    "version": stored.version + self._layout,
                    "size": stored.size,
                    "event_time": stored.event_time,
                    "rows": survey.rows,
                    "marks": json.dumps([astuple(mark) for mark in survey.marks]),
                },
            ).one_or_none()
            if added is not None:
                _name_rows(connection, stored, added.first_key, added.id, rows)

    def reconcile(self, window: Window, objects: Iterable[StoredObject]) -> None:
        """From now on the files of the window are those that were found, and no others."""
        values = {
            **self._versions(objects),
            "window_start": window.start,
            "window_stop": window.stop,
        }
        with transaction(self._engine, statement_timeout="10min") as connection:
            connection.execute(query("retire_objects"), values)
            connection.execute(query("return_objects"), values)

    def of_keys(self, start: int, stop: int) -> list[ListedObject]:
        """The files that hold keys from `start` up to `stop`, in the order of their keys."""
        keys = {"source": self._source, "start": start, "stop": stop}
        with transaction(self._engine) as connection:
            return [
                ListedObject(
                    StoredObject(
                        row.uri, row.version.removesuffix(self._layout), row.size, row.event_time
                    ),
                    Survey(row.rows, tuple(Mark(*mark) for mark in row.marks)),
                    row.first_key,
                )
                for row in connection.execute(query("objects_of_keys"), keys)
            ]

    def names(self, keys: Sequence[int]) -> dict[int, str]:
        """The names of the rows of these keys, of those that have names."""
        asked = {"source": self._source, "keys": list(keys)}
        with transaction(self._engine) as connection:
            rows = connection.execute(query("names_of_rows"), asked)
            return {row.key: row.record_key for row in rows}

    def keys(self, names: Sequence[str], *, named: bool) -> dict[int, str]:
        """The keys that rows of these names have now, where rows have names or only numbers."""
        asked = {"source": self._source, "names": list(names)}
        with transaction(self._engine) as connection:
            rows = connection.execute(query("keys_of_names" if named else "keys_there"), asked)
            return {row.key: row.record_key for row in rows}

    def _versions(self, objects: Iterable[StoredObject]) -> dict[str, object]:
        objects = list(objects)
        return {
            "source": self._source,
            "uris": [stored.uri for stored in objects],
            "versions": [stored.version + self._layout for stored in objects],
        }


def _name_rows(
    connection: Connection,
    stored: StoredObject,
    first_key: int,
    object_id: int,
    rows: Iterable[Row],
) -> None:
    rows = iter(rows)
    while part := list(islice(rows, _NAMED_AT_ONCE)):
        names = {first_key + row.number: _name(row) for row in part}
        added = connection.execute(
            query("add_object_rows"),
            {
                "object_id": object_id,
                "keys": list(names),
                "names": list(names.values()),
                "input_md5s": [Record(0, row.image_uri, row.caption).input_md5 for row in part],
            },
        )
        if len(known := set(added.scalars())) != len(part):
            key = min(set(names) - known)
            raise ObjectUnreadable(
                f"{stored.shown}: row {key - first_key + 1} has the id of another row"
            )


def _name(row: Row) -> str:
    """A row with a parse error is named after its place: it has nothing better."""
    return f"#{row.number + 1}" if row.name is None else row.name
