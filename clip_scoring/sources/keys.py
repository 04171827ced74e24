"""Key columns of users' tables: an order that Python, PostgreSQL and an index agree on."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, String, Table, Text, cast, collate
from sqlalchemy.types import UUID

from clip_scoring.database.connection import query
from clip_scoring.records import Key

log = logging.getLogger(__name__)

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AFTER = "\x01"
"""The suffix that `successor` appends to text; a uuid cannot hold it, so bounds look for it."""


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One key column: `order` to sort by, `value` as Python has it, `text` as outcomes have it."""

    order: ColumnElement[Any]
    value: ColumnElement[Any]
    text: ColumnElement[str]
    is_uuid: bool = False

    def at_least(self, start: Key) -> ColumnElement[bool]:
        """Keys from `start` on."""
        if self.is_uuid:
            key, after = _uuid(start)
            return self.order > key if after else self.order >= key
        return self.order >= start

    def among(self, texts: Sequence[str]) -> ColumnElement[bool]:
        """The keys that are written like this; what is no key of this type is not among them."""
        if isinstance(self.order.type, Integer):
            numbers = [int(text) for text in texts if _INTEGER.fullmatch(text)]
            return self.order.in_([number for number in numbers if -(2**63) <= number < 2**63])
        if self.is_uuid:
            return self.order.in_(
                [cast(text, UUID(as_uuid=False)) for text in texts if _UUID.fullmatch(text)]
            )
        return self.order.in_(texts)

    def below(self, stop: Key) -> ColumnElement[bool]:
        """Keys below `stop`."""
        if self.is_uuid:
            key, after = _uuid(stop)
            return self.order <= key if after else self.order < key
        return self.order < stop


def key_column(connection: Connection, table: Table, column: ColumnElement[Any]) -> KeyColumn:
    """The key of a column that holds integers, text or uuids.

    Text is sorted by code points. Where the column's own collation does that already, it is left
    alone, so that its index serves.
    """
    text: ColumnElement[str] = cast(column, Text)
    if isinstance(column.type, Integer):
        return KeyColumn(column, column, text)
    if isinstance(column.type, UUID):  # bytes of a uuid sort like the hex digits of its text
        return KeyColumn(column, collate(text, "C"), text, is_uuid=True)
    if _sorts_by_code_points(connection, table, str(column.key)):
        return KeyColumn(column, collate(column, "C"), text)
    return KeyColumn(collate(column, "C"), collate(column, "C"), text)


def warn_without_index(connection: Connection, table: Table, name: str) -> None:
    """Say which index to create where none yields a table's keys in order."""
    indexed = connection.execute(query("key_index"), _place(table, name)).scalar_one_or_none()
    if indexed is False:
        text = isinstance(table.c[name].type, String)
        by = f'{name} COLLATE "C"' if text else name
        log.warning(
            "%s has no index in the order of its keys, so every batch sorts the table: "
            "CREATE INDEX ON %s (%s)", table.fullname, table.fullname, by,
        )  # fmt: skip


def _sorts_by_code_points(connection: Connection, table: Table, name: str) -> bool:
    answer = connection.execute(query("sorts_by_code_points"), _place(table, name))
    return bool(answer.scalar_one())


def _place(table: Table, name: str) -> dict[str, str | None]:
    return {"schema": table.schema, "table": table.name, "column": name}


def _uuid(bound: Key) -> tuple[ColumnElement[Any], bool]:
    text = str(bound)
    return cast(text.removesuffix(_AFTER), UUID(as_uuid=False)), text.endswith(_AFTER)
