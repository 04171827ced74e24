"""One local file as an object of a source; its version is the SHA-256 of its content."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

from clip_scoring.errors import ObjectChanged, ObjectUnreadable
from clip_scoring.metrics import StageMetrics
from clip_scoring.runs import Window
from clip_scoring.sources.stored_objects import StoredObject

_BLOCK = 256 * 1024
_REGULAR = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """ObjectStore over the file at `path`; nothing else can be opened through it."""

    path: Path

    def list_objects(self, window: Window) -> Iterator[StoredObject]:
        """The file, when it was last modified within the window."""
        stored = self.stored()
        if stored.lies_in(window):
            yield stored

    def stored(self) -> StoredObject:
        """The file as it is now."""
        file = self._open()
        seen = _Seen.of(file.fileno())
        with file:
            event_time = datetime.fromtimestamp(seen.mtime_ns / 1e9, UTC)
        version = _version(self.path, seen)
        return StoredObject(self._uri, version, seen.size, event_time)

    def open(self, stored: StoredObject, start: int = 0) -> BinaryIO:
        """The file from byte `start` on; raises ObjectChanged when its content is another."""
        stream = self.open_seekable(stored)
        stream.seek(start)
        return stream

    def drain_metrics(self) -> StageMetrics:
        """Nothing moves: the file is here."""
        return StageMetrics()

    def open_seekable(self, stored: StoredObject) -> BinaryIO:
        """The file itself; raises ObjectChanged when its content is another, even while read."""
        if stored.uri != self._uri:
            raise ObjectUnreadable(f"{stored.shown} is not {self._uri}, the file of this source")
        try:
            file = self._open()
        except ObjectUnreadable as failed:
            if self.path.exists():
                raise
            raise ObjectChanged(f"{stored.shown} is gone since planning: plan again") from failed
        seen = _Seen.of(file.fileno())
        try:
            if _version(self.path, seen) != stored.version:
                raise ObjectChanged(_changed(stored.shown, stored.version))
        except ObjectChanged:
            file.close()
            raise
        return io.BufferedReader(_Watched(file, seen, stored), _BLOCK)

    @property
    def _uri(self) -> str:
        return self.path.absolute().as_uri()

    def _open(self) -> io.FileIO:
        """Not blocking, so that a pipe is refused rather than waited for."""
        try:
            number = os.open(self.path, _REGULAR)
        except OSError as failed:
            raise ObjectUnreadable(f"{self.path}: {failed.strerror}") from failed
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise ObjectUnreadable(f"{self.path} is not a regular file")
        return io.FileIO(number)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file's status; equal status is taken for equal content."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: Path | int) -> _Seen:
        status = os.stat(file)  # noqa: PTH116  # of a descriptor as well
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class _Watched(io.RawIOBase):
    """The bytes of an open file for as long as nobody writes to it."""

    def __init__(self, file: io.FileIO, seen: _Seen, stored: StoredObject) -> None:
        self._file = file
        self._seen = seen
        self._stored = stored

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        if _Seen.of(self._file.fileno()) != self._seen:
            raise ObjectChanged(_changed(self._stored.shown, self._stored.version))
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()


@lru_cache(maxsize=64)
def _version(path: Path, seen: _Seen) -> str:
    """The content's hash, remembered for as long as the file looks as it was seen."""
    try:
        with path.open("rb") as stream:
            digest = file_digest(stream, "sha256").hexdigest()
            after = _Seen.of(stream.fileno())
    except OSError as failed:
        raise ObjectUnreadable(f"{path}: {failed.strerror}") from failed
    if after != seen:
        raise ObjectChanged(f"{path} was written to while its version was taken: plan again")
    return f"sha256:{digest}"


def _changed(uri: str, version: str) -> str:
    return f"{uri} changed since planning: it was {version}, plan again"
