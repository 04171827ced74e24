"""Image files below configured roots: regular files only, and no symlink leads out."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from clip_scoring.images.budget import Share
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.images.threads import Threads
from clip_scoring.records import Reason

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_THREADS = 8
_OF_THE_FILE = {errno.EIO, errno.ESTALE, errno.EINVAL, errno.EOVERFLOW, errno.EISDIR, errno.EBADMSG}
"""Errors of a damaged disk or a stale mount for one file; they must not stop the others."""


class LocalImages:
    """Files below the roots, read in threads of its own."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._threads = Threads(_THREADS, "read-file")

    async def fetch(self, path: str, share: Share, *, limit: int) -> bytes:
        """The bytes of a file; raises ImageRejected."""
        file, size = await self._threads.run(
            partial(open_below, self._roots, path, limit), undo=lambda late: os.close(late[0])
        )
        try:
            await share.grow(size)
        except BaseException:
            os.close(file)
            raise
        return await self._threads.run(partial(_read, file, size))

    async def close(self) -> None:
        """End the threads."""
        self._threads.close()


def read_below(roots: Iterable[Path], path: str, *, limit: int) -> bytes:
    """The bytes of a file, at most `limit`; see `open_below`."""
    return _read(*open_below(roots, path, limit))


def open_below(roots: Iterable[Path], path: str, limit: int) -> tuple[int, int]:
    """Descriptor and size of `path`, relative to the first root that has it, or absolute in one.

    Links are resolved first; then the result is opened part by part from the root without
    following any link, so that swapping a link in between gains nothing.
    """
    outside = missing = False
    for root in roots:
        inside = _inside(root, path)
        if inside is None:
            outside = True
            continue
        try:
            return _checked(_open(root, inside), limit)
        except (FileNotFoundError, NotADirectoryError):
            missing = True
        except OSError as failed:
            raise _refusal(failed) from failed
    if missing:
        raise ImageRejected(Reason.OBJECT_NOT_FOUND, "no such file")
    detail = "the path leads out of the image roots" if outside else "no image root is configured"
    raise ImageRejected(Reason.URI_FORBIDDEN, detail)


def _inside(root: Path, path: str) -> Path | None:
    if "\x00" in path:
        raise ImageRejected(Reason.URI_INVALID, "NUL in the path")
    real_root = Path(os.path.realpath(root))
    real = Path(os.path.realpath(real_root / path))
    return real.relative_to(real_root) if real.is_relative_to(real_root) else None


def _open(root: Path, inside: Path) -> int:
    folder = os.open(os.path.realpath(root), _FOLDER)
    try:
        for part in inside.parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(inside.name or ".", _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _checked(file: int, limit: int) -> tuple[int, int]:
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
        return file, status.st_size
    os.close(file)
    if stat.S_ISREG(status.st_mode):
        raise ImageRejected(Reason.IMAGE_TOO_LARGE, f"{status.st_size} bytes, limit {limit}")
    raise ImageRejected(Reason.URI_FORBIDDEN, "not a regular file")


def _read(file: int, size: int) -> bytes:
    """Its bytes; no more than its size was when it was opened."""
    with os.fdopen(file, "rb") as stream:
        try:
            return stream.read(size)
        except OSError as failed:
            raise _refusal(failed) from failed


def _refusal(failed: OSError) -> ImageRejected:
    if failed.errno in {errno.ENAMETOOLONG}:
        return ImageRejected(Reason.URI_INVALID, "the path is too long")
    if failed.errno in {errno.EACCES, errno.EPERM}:
        return ImageRejected(Reason.OBJECT_FORBIDDEN, "permission denied")
    if failed.errno in {errno.ELOOP, errno.ENXIO}:
        return ImageRejected(Reason.URI_FORBIDDEN, "not a regular file")
    if failed.errno in _OF_THE_FILE:
        return ImageRejected(Reason.BODY_TRUNCATED, f"unreadable: {errno.errorcode[failed.errno]}")
    raise failed
