"""A CSV file as several: each row in one of them, all of them there at once or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from clip_scoring.errors import SettingsInvalid
from clip_scoring.files.csv_writer import CsvWriter
from clip_scoring.files.journal import named_errors, sync_folder
from clip_scoring.files.reader import CsvFile
from clip_scoring.files.splitting import parse_names, parse_ratios, part_of, usual_names
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
        return [self.folder / f"{name.stem}_{each}{suffix}" for each in self.names]


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
    with written_together(outputs) as streams:
        rows = _distribute(file, options, streams)
    return [Part(path, count) for path, count in zip(outputs, rows, strict=True)]


@contextmanager
def written_together(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """A stream for each path in one folder; renamed when the content of all is on the disk."""
    folder = paths[0].parent
    parts = [path.with_name(f"{path.name}.part") for path in paths]
    try:
        with named_errors(folder), ExitStack() as opened:
            streams: list[BinaryIO] = [opened.enter_context(each.open("wb")) for each in parts]
            yield streams
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    sync_folder(folder)


def _distribute(file: CsvFile, options: SplitOptions, streams: Sequence[BinaryIO]) -> Sequence[int]:
    """Rows written to each stream."""
    place = file.place(options.file.image)
    writers = [CsvWriter(each, file.dialect) for each in streams]
    counts = [0] * len(writers)
    if file.dialect.has_header:
        for writer in writers:
            writer.write_row(file.columns)
    with closing(file.rows()) as rows:
        for row in rows:
            value = row.cells[place] if place < len(row.cells) else ""
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
