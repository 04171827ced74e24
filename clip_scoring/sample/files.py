"""Writes the sample's files whole or not at all."""

from __future__ import annotations

from pathlib import Path

from clip_scoring.filesystem import atomic_writer


def write_padded(path: Path, content: bytes, *, padded_to: int = 0) -> None:
    """Puts `content` at `path`, in a folder that is made where it is missing.

    A file shorter than `padded_to` bytes is extended with a hole that takes no space on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file:
        file.write(content)
        file.truncate(max(len(content), padded_to))
