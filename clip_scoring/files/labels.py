"""A file of labels, and the file that says which of them fits each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from clip_scoring.display import one_line
from clip_scoring.errors import ObjectUnreadable, SettingsInvalid
from clip_scoring.files.csv_writer import CsvWriter
from clip_scoring.files.reader import Dialect
from clip_scoring.records import Rejection

MOST_LABELS = 10_000
_MOST_CHARACTERS = 16 * 1024
Prediction = NDArray[np.float32] | Rejection
"""Of each label the probability, shape (labels,); or why there is none."""


def read_labels(path: Path) -> dict[str, int]:
    """Each label with its line, in the order of the file, without blank lines.

    Raises ObjectUnreadable for what is no UTF-8 text, SettingsInvalid for a label that is there
    twice, for none at all and for too many.
    """
    numbers: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig") as lines:
            number = 0
            while line := lines.readline(_MOST_CHARACTERS + 1):
                number += 1
                _add(numbers, line, number, path)
    except UnicodeDecodeError as undecodable:
        raise ObjectUnreadable(f"labels {path}: not UTF-8: {undecodable.reason}") from undecodable
    except OSError as failed:
        raise ObjectUnreadable(f"labels {path}: {failed.strerror}") from failed
    if not numbers:
        raise SettingsInvalid(f"labels {path}: the file is empty, write one label a line")
    return numbers


def _add(numbers: dict[str, int], line: str, number: int, path: Path) -> None:
    label = line.strip()
    if len(line) > _MOST_CHARACTERS:
        raise SettingsInvalid(f"labels {path}: line {number} has over {_MOST_CHARACTERS} letters")
    if label in numbers:
        raise SettingsInvalid(
            f"labels {path}: line {number} is line {numbers[label]} again, "
            f"{one_line(label)!r}: remove one of them"
        )
    if label and len(numbers) == MOST_LABELS:
        raise SettingsInvalid(f"labels {path}: over {MOST_LABELS} labels")
    if label:
        numbers[label] = number


@dataclass(frozen=True, slots=True)
class LabelLayout:
    """The columns that follow those of the input, and their format."""

    columns: Sequence[str]
    dialect: Dialect
    labels: Sequence[str]
    top: int = 0
    """Number of labels with their probabilities; 0 means a column for each label."""
    prefix: str = ""
    """Stands before the names of our columns."""
    excel_safe: bool = False

    @property
    def ours(self) -> list[str]:
        """The names of our columns."""
        return [self.prefix + name for name in ("label", "probability", *self._middle, *_LAST)]

    @property
    def _middle(self) -> list[str]:
        if not self.top:
            return [f"p_{label}" for label in self.labels]
        return [
            f"{name}_{rank}" for rank in range(1, self.top + 1) for name in ("label", "probability")
        ]

    def cells(self, prediction: Prediction) -> list[str]:
        """One for each of our columns; of equally probable labels the one named first counts."""
        if isinstance(prediction, Rejection):
            nothing = [""] * (2 + len(self._middle))
            return [*nothing, str(prediction.reason), one_line(prediction.detail)]
        ranked = np.argsort(-prediction, kind="stable")[: self.top or 1]
        best = [text for at in ranked for text in (self.labels[at], str(prediction[at]))]
        return [*best[:2], *(best if self.top else map(str, prediction)), "", ""]


_LAST = ("rejection", "rejection_detail")


def require_place(path: Path, layout: LabelLayout, *, source: Path, force: bool) -> None:
    """Raise SettingsInvalid where the output cannot be, or a column would be there twice."""
    if not path.name.lower().endswith((".csv", ".tsv")):
        raise SettingsInvalid(f"output {path}: the name ends in .csv or .tsv")
    if not path.parent.is_dir():
        raise SettingsInvalid(f"output {path}: no such folder")
    if path.exists():
        _require_overwritable(path, source=source, force=force)
    taken = set(layout.columns)
    if twice := next((name for name in layout.ours if name in taken), None):
        raise SettingsInvalid(
            f"the input has a column {twice!r} already: give ours a --column-prefix"
        )


def _require_overwritable(path: Path, *, source: Path, force: bool) -> None:
    if not path.is_file():
        raise SettingsInvalid(f"output {path} is not a regular file")
    if path.samefile(source):
        raise SettingsInvalid(f"output {path} is the input: name another")
    if not force:
        raise SettingsInvalid(f"output {path} exists already: --force overwrites it")


def write_labelled(
    stream: BinaryIO, rows: Iterable[tuple[Sequence[str], Prediction]], layout: LabelLayout
) -> None:
    """Each row as it was with ours behind; what it has more than the header stands at its end."""
    writer = CsvWriter(stream, layout.dialect, excel_safe=layout.excel_safe)
    width = len(layout.columns)
    if layout.dialect.has_header:
        writer.write_row([*layout.columns, *layout.ours])
    for cells, prediction in rows:
        padding = [""] * (width - len(cells))
        writer.write_row([*cells[:width], *padding, *layout.cells(prediction), *cells[width:]])
