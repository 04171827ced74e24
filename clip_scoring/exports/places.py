"""Where exports go: each file appears whole or not at all, and writing it again replaces it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clip_scoring.filesystem import atomic_path

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
        with atomic_path(target) as part:
            rows = write(part)
        return Exported(target.absolute().as_uri(), rows)
