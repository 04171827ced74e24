"""Columns of users' tables as the catalogue has them, and which types serve for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    MetaData,
    Table,
    Text,
    cast,
    func,
)
from sqlalchemy.types import UUID, TypeEngine

from clip_scoring.database.connection import query
from clip_scoring.errors import SettingsInvalid

_KEYS: Mapping[str, TypeEngine[Any]] = {
    **dict.fromkeys(("int2", "int4", "int8"), BigInteger()),
    **dict.fromkeys(("text", "varchar"), Text()),
    "uuid": UUID(as_uuid=False),
}
_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "enum"})
_TIMES = frozenset({"timestamptz", "timestamp", "date"})


@dataclass(frozen=True, slots=True)
class TableColumns:
    """A table or view, and the types of its columns below their domains, as people write them."""

    table: Table
    types: Mapping[str, str]
    """`enum` for all enumerations; else PostgreSQL's internal name, for instance int8."""
    shown: Mapping[str, str]

    def key(self, name: str) -> ColumnElement[Any]:
        """The column of keys, by a type whose order Python and PostgreSQL agree on."""
        self._require("key", name, _KEYS.keys(), "use bigint, text or uuid")
        return self.table.c[name]

    def text(self, role: str, name: str) -> ColumnElement[str]:
        """The text of an image's address or a caption; NULL is the empty text."""
        view = f"a view can say CAST({name} AS text)"
        self._require(role, name, _TEXTS, f"use text; where its text is meant, {view}")
        return func.coalesce(cast(self.table.c[name], Text), "")

    def event_time(self, name: str) -> ColumnElement[Any]:
        """The instant of a record; a time without a zone, and a date's midnight, are UTC."""
        self._require("event_time", name, _TIMES, "use timestamptz")
        if self.types[name] == "timestamptz":
            return self.table.c[name]
        return func.timezone("UTC", cast(self.table.c[name], DateTime()))

    def _require(self, role: str, name: str, usable: Any, cure: str) -> None:
        if name not in self.types:
            known = ", ".join(self.types)
            raise SettingsInvalid(f"{self.table.fullname} has no column {name!r}, only {known}")
        if self.types[name] not in usable:
            raise SettingsInvalid(
                f"{self.table.fullname}: {role} column {name!r} is {self.shown[name]}: {cure}"
            )


def table_columns(connection: Connection, name: str) -> TableColumns:
    """The table or view `schema.name`; raises SettingsInvalid where there is none."""
    schema, dot, relation = name.partition(".")
    if not dot:
        raise SettingsInvalid(f"table {name!r} has no schema: write schema.name")
    rows = connection.execute(query("columns"), {"schema": schema, "table": relation}).all()
    if not rows:
        raise SettingsInvalid(f"no table or view {name} in {connection.engine.url.database}")
    table = Table(
        relation, MetaData(), *(Column(row.name, _KEYS.get(row.type)) for row in rows),
        schema=schema,
    )  # fmt: skip
    types = {row.name: row.type for row in rows}
    return TableColumns(table, types, {row.name: row.shown for row in rows})
