"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from clip_scoring.sources.lines import LIMIT_BYTES, Line, read_lines, survey_text
from clip_scoring.sources.stored_objects import Mark, ObjectStore, Row, StoredObject, Survey

_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class JsonLinesRows:
    """Rows of an object whose lines are JSON objects; `image` and `caption` name their fields."""

    image: str
    caption: str
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")
    names_rows: ClassVar[bool] = False

    def survey(self, store: ObjectStore, stored: StoredObject) -> Survey:
        """Count the lines that are not blank; raises ObjectUnreadable when none is a pair."""
        first = Mark(0, 0)
        return survey_text(self._found(store, stored, first), stored, first)

    def rows(
        self, store: ObjectStore, stored: StoredObject, survey: Survey, first: int
    ) -> Iterator[Row]:
        """Rows from number `first` on; a line that is not a pair is a row with a parse error."""
        for _, row in self._found(store, stored, survey.nearest(first)):
            if row.number >= first:
                yield row

    def _found(
        self, store: ObjectStore, stored: StoredObject, mark: Mark
    ) -> Iterator[tuple[Mark, Row]]:
        number = mark.row
        for line in read_lines(store, stored, mark):
            if line.content is None or line.content.strip(_BLANK):
                yield Mark(number, line.start, line.number), self._row(number, line)
                number += 1

    def _row(self, number: int, line: Line) -> Row:
        try:
            return Row(number, *self._pair(line.content))
        except json.JSONDecodeError as broken:
            parse_error = f"{broken.msg} at column {broken.colno}"
        except RecursionError:
            parse_error = "nested too deeply"
        except ValueError as broken:
            parse_error = str(broken)
        return Row.unparsable(number, f"line {line.number}: {parse_error}")

    def _pair(self, content: bytes | None) -> tuple[str, str]:
        """Raises ValueError with what is wrong."""
        if content is None:
            raise ValueError(f"over {LIMIT_BYTES} bytes")
        fields = json.loads(content.rstrip(_BLANK).decode())
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        return text_field(fields, self.image), text_field(fields, self.caption)


def text_field(fields: dict[str, object], name: str) -> str:
    """The text under a name; raises ValueError when there is none."""
    if name not in fields:
        raise ValueError(f"no field {name!r}")
    text = fields[name]
    if not isinstance(text, str):
        raise ValueError(f"field {name!r} must be a string")
    return text
