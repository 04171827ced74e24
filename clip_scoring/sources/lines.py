"""Lines of formats that are text, and the survey of their rows."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Generator, Iterator
from typing import BinaryIO, NamedTuple

from clip_scoring.errors import ObjectUnreadable
from clip_scoring.sources.stored_objects import Mark, ObjectStore, Row, StoredObject, Survey

LIMIT_BYTES = 16 * 1024 * 1024
"""Of one line, and of one record over several lines."""
_MARK_BYTES = 4 * 1024 * 1024
_BLOCK = 64 * 1024
_TRIED = 100


class Line(NamedTuple):
    """One physical line and its bytes `start` up to `stop`; content None is over the limit."""

    number: int
    start: int
    stop: int
    content: bytes | None


def read_lines(store: ObjectStore, stored: StoredObject, mark: Mark) -> Generator[Line]:
    """Lines from the mark on, never more than one in memory; raises ObjectUnreadable on UTF-16."""
    with store.open(stored, mark.byte) as stream:
        yield from lines_of(stream, stored.shown, mark)


def lines_of(stream: BinaryIO, uri: str, mark: Mark) -> Generator[Line]:
    """The lines of a stream that stands at the mark; the first one of a file without its BOM."""
    number, at = mark.line, mark.byte
    while content := stream.readline(LIMIT_BYTES + 1):
        stop = at + len(content)
        whole = content.endswith(b"\n") or len(content) <= LIMIT_BYTES
        if not whole:
            stop += _skip_line(stream)
        if at == 0:
            content = _without_bom(content, uri)
        yield Line(number, at, stop, content if whole else None)
        number, at = number + 1, stop


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while block := stream.readline(_BLOCK):
        skipped += len(block)
        if block.endswith(b"\n"):
            break
    return skipped


def _without_bom(content: bytes, uri: str) -> bytes:
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\x00" in content[:4]:
        raise ObjectUnreadable(f"{uri} is in UTF-16 or UTF-32: save it as UTF-8")
    return content.removeprefix(BOM_UTF8)


def survey_text(rows: Iterator[tuple[Mark, Row]], stored: StoredObject, first: Mark) -> Survey:
    """Survey rows that begin at `first`; raises ObjectUnreadable when the first 100 have errors."""
    return Survey.of(_unless_foreign(rows, stored.shown), first=first, bytes_apart=_MARK_BYTES)


def _unless_foreign(rows: Iterator[tuple[Mark, Row]], uri: str) -> Iterator[Mark]:
    parse_error = None
    for start, row in rows:
        if row.parse_error is None:
            yield start
            break
        parse_error = parse_error or row.parse_error
        if row.number + 1 == _TRIED:
            raise ObjectUnreadable(
                f"{uri}: the first {_TRIED} rows are no pairs; {parse_error.detail}"
            )
        yield start
    else:
        if parse_error:
            raise ObjectUnreadable(f"{uri}: not one row is a pair; {parse_error.detail}")
    yield from (start for start, _ in rows)
