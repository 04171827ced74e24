"""Where exports go: each file appears whole or not at all, and writing it again replaces it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Protocol

Write = Callable[[Path], int]
"""Writes a new file and returns its number of rows."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that is there now, and how many outcomes it holds."""

    uri: str
    rows: int


class Exports(Protocol):
    """A place for exports."""

    def put(self, name: str, write: Write) -> Exported:
        """Let `write` make the file of that relative name, and put it there as a whole."""


@dataclass(frozen=True, slots=True)
class FolderExports:
    """Exports below a folder, which is made where it is missing."""

    folder: Path

    def put(self, name: str, write: Write) -> Exported:
        """Write beside the file, then rename; what a killed attempt left there is removed."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*.part"):
            left.unlink(missing_ok=True)
        part = target.with_name(f".{target.name}.{token_hex(4)}.part")
        try:
            rows = write(part)
            _sync(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        _sync(target.parent)
        return Exported(target.absolute().as_uri(), rows)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
