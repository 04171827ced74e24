"""Writes the sample's files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, *, padded_to: int = 0) -> None:
    """Puts `content` at `path` by a rename, so that nobody sees half of it.

    A file shorter than `padded_to` bytes is extended with a hole that takes no space on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        file.write(content)
        file.truncate(max(len(content), padded_to))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
