"""Stored objects and their rows: what every file source stands on, wherever its files lie."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO, Protocol

from clip_scoring.display import address, one_line
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Reason, Rejection
from clip_scoring.runs import Window


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One file at one moment: `version` changes whenever its content does."""

    uri: str
    version: str
    size: int
    event_time: datetime
    """The day in its name where the prefix has `{date}`, else when it was last modified."""

    @property
    def shown(self) -> str:
        """The URI for people; a query in it may be the signature of a link."""
        return address(self.uri)

    def lies_in(self, window: Window) -> bool:
        """Whether the event time is in the window."""
        after_start = window.start is None or window.start <= self.event_time
        return after_start and self.event_time < window.stop


@dataclass(frozen=True, slots=True)
class Row:
    """One record of an object; one with a parse error keeps its number: numbers never shift."""

    number: int
    image_uri: str
    caption: str
    image: bytes | None = None
    parse_error: Rejection | None = None
    name: str | None = None
    """The row's own name, where a column of names was asked for."""

    @classmethod
    def unparsable(cls, number: int, detail: str) -> Row:
        """A row that is no pair; `detail` may quote what stands there, one line is made of it."""
        return cls(number, "", "", parse_error=Rejection(Reason.RECORD_INVALID, one_line(detail)))


@dataclass(frozen=True, slots=True)
class Mark:
    """Where reading may begin: row `row` starts at byte `byte` of the object."""

    row: int
    byte: int
    line: int = 1
    """The physical line that starts there, in text."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The result of one pass over an object; `marks` ascend and begin with the first row."""

    rows: int
    marks: Sequence[Mark]

    @classmethod
    def of(
        cls, starts: Iterable[Mark], *, first: Mark, bytes_apart: int, rows_apart: int = 10_000
    ) -> Survey:
        """Count the rows that start there, and keep a mark wherever the last one is far away."""
        rows, marks = 0, [first]
        for start in starts:
            rows += 1
            last = marks[-1]
            if start.byte - last.byte >= bytes_apart or start.row - last.row >= rows_apart:
                marks.append(start)
        return cls(rows, tuple(marks))

    def nearest(self, row: int) -> Mark:
        """The last mark at or below the row."""
        return self.marks[max(bisect_right(self.marks, row, key=lambda mark: mark.row) - 1, 0)]


class Listing(StrEnum):
    """Answers of a bucket that is asked for the first object below a prefix."""

    FOUND = "found"
    EMPTY = "empty"
    DENIED = "denied"
    """The login is known there and may not list; it may well read or write."""


class ObjectStore(Protocol):
    """Where objects lie. A store lists what belongs to its source and reads nothing else."""

    def list_objects(self, window: Window) -> Iterator[StoredObject]:
        """The source's objects with event time in the window, ordered by URI.

        Raises ObjectUnreadable when the place does not exist or may not be read,
        ObjectStoreUnavailable when it does not answer.
        """

    def open(self, stored: StoredObject, start: int = 0) -> BinaryIO:
        """A stream of the object's bytes from `start` on, read as it is consumed.

        Raises ObjectChanged when the object is gone or has another version, at once or while it
        is read; never yields bytes of two versions.
        """

    def open_seekable(self, stored: StoredObject) -> BinaryIO:
        """The object as a seekable file that fetches only the ranges that are read."""

    def drain_metrics(self) -> StageMetrics:
        """Counts of `bytes` and `read_retries` since the last call."""


class RowFormat(Protocol):
    """How the rows of an object are found; reading twice finds the same rows."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of such objects end, in lower case."""

    @property
    def names_rows(self) -> bool:
        """Whether the rows have names, by which outcomes are kept over versions of an object."""

    def survey(self, store: ObjectStore, stored: StoredObject) -> Survey:
        """Count the rows in one pass; raises ObjectUnreadable with the reason and the URI."""

    def rows(
        self, store: ObjectStore, stored: StoredObject, survey: Survey, first: int
    ) -> Iterator[Row]:
        """Rows from number `first` on, reading from the nearest mark at or below it."""
