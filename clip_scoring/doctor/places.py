"""Short questions to local places: are they there, and may they be read or written to?"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from clip_scoring.display import one_line, redacted_cell
from clip_scoring.errors import ObjectUnreadable, SettingsInvalid
from clip_scoring.settings.registrations import FilePlace
from clip_scoring.sources.csv_records import CsvLines, csv_records
from clip_scoring.sources.lines import lines_of
from clip_scoring.sources.stored_objects import Mark


def look_into_csv(place: FilePlace) -> int:
    """The file's size in bytes; raises ObjectUnreadable, also where a column is missing."""
    try:
        status = place.path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ObjectUnreadable(f"{place.path} is not a regular file")
        with place.path.open("rb") as raw:
            lines = CsvLines(lines_of(raw, str(place.path), Mark(0, 0)))
            header = next(csv_records(lines), None)
    except OSError as failed:
        raise ObjectUnreadable(f"{place.path}: {failed.strerror}") from failed
    if header and header.parse_error:
        raise ObjectUnreadable(f"{place.path}: the header: {header.parse_error}")
    columns = header.cells if header else []
    for name in (place.image, place.caption, place.key):
        if name is not None and name not in columns:
            known = one_line(", ".join(map(redacted_cell, columns))) or "none: it is empty"
            raise ObjectUnreadable(f"{place.path} has no column {name!r}, its columns: {known}")
    return status.st_size


def require_folder(path: Path) -> None:
    """Raise ObjectUnreadable unless the files of the folder can be opened."""
    if not path.is_dir():
        raise ObjectUnreadable(f"{path}: no such folder")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ObjectUnreadable(f"{path}: its files may not be read")


def require_writable(path: Path) -> None:
    """Raise SettingsInvalid unless the folder takes files, or could be made."""
    there = nearest_folder(path)
    if not there.is_dir():
        raise SettingsInvalid(f"{path}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SettingsInvalid(f"{path}: {there} may not be written to")


def free_bytes(path: Path) -> int:
    """Free bytes where the path is, or would be."""
    return shutil.disk_usage(nearest_folder(path)).free


def nearest_folder(path: Path) -> Path:
    """The path itself where it exists, else the nearest above it that does."""
    whole = path.absolute()
    return next(parent for parent in (whole, *whole.parents) if parent.exists())
