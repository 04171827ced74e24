"""A CSV file as several: each row in one of them, all of them there at once or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from clip_scoring.errors import SettingsInvalid
from clip_scoring.files.csv_writer import CsvWriter
from clip_scoring.files.reader import CsvFile
from clip_scoring.files.splitting import parse_names, parse_ratios, part_of, usual_names
from clip_scoring.filesystem import atomic_writers
from clip_scoring.settings.file_options import FileOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOptions:
    """The file, how large its parts are, and what decides."""

    file: FileOptions
    """Its image column is the one that decides."""
    ratios: Sequence[float]
    names: Sequence[str]
    folder: Path
    salt: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> SplitOptions:
        """From values as people write them; raises SettingsInvalid."""
        file = FileOptions.of({**given, "image_column": given.get("by")})
        ratios = parse_ratios(given["ratios"])
        named = given.get("names")
        return cls(
            file=file,
            ratios=ratios,
            names=usual_names(len(ratios)) if named is None else parse_names(named, len(ratios)),
            folder=given.get("folder") or file.path.parent,
            salt=given.get("salt", ""),
        )

    @property
    def outputs(self) -> list[Path]:
        """`PAIRS_train.csv` and so on, in the order of the ratios."""
        name = Path(self.file.path.name.removesuffix(".gz"))
        suffix = name.suffix if name.suffix.lower() == ".tsv" else ".csv"
        return [self.folder / f"{name.stem}_{part}{suffix}" for part in self.names]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the files, and how many rows it has beside the header."""

    path: Path
    rows: int


def split_file(options: SplitOptions) -> list[Part]:
    """Write each row of the file to the part that its cell in the column belongs to, in order.

    A row that ends before that column counts as one with an empty cell there. Raises
    SettingsInvalid, having written nothing, and ObjectUnreadable.
    """
    given, outputs = options.file, options.outputs
    _require_places(outputs, force=given.force)
    file = CsvFile.open(
        given.path,
        wanted=[given.image],
        delimiter=given.delimiter,
        has_header=given.has_header,
    )
    with atomic_writers(outputs) as streams:
        rows = _distribute(file, options, streams)
    return [Part(path, count) for path, count in zip(outputs, rows, strict=True)]


def _distribute(file: CsvFile, options: SplitOptions, streams: Sequence[BinaryIO]) -> Sequence[int]:
    """Rows written to each stream."""
    column_index = file.column_index(options.file.image)
    writers = [CsvWriter(stream, file.dialect) for stream in streams]
    counts = [0] * len(writers)
    if file.dialect.has_header:
        for writer in writers:
            writer.write_row(file.columns)
    with closing(file.rows()) as rows:
        for row in rows:
            value = row.cells[column_index] if column_index < len(row.cells) else ""
            part = part_of(value, options.ratios, options.salt)
            writers[part].write_row(row.cells)
            counts[part] += 1
    return counts


def _require_places(outputs: Sequence[Path], *, force: bool) -> None:
    """Raise SettingsInvalid where a part cannot be written to, or something is there already."""
    for path in outputs:
        if not path.parent.is_dir():
            raise SettingsInvalid(f"output {path}: no such folder")
        if path.exists() and not path.is_file():
            raise SettingsInvalid(f"output {path} is not a regular file")
        if path.exists() and not force:
            raise SettingsInvalid(f"output {path} exists already: --force overwrites it")
