"""Files that are there whole or not at all, also when the process or the machine ends half way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedRandom
from pathlib import Path
from secrets import token_hex
from stat import S_IMODE, S_ISREG


@contextmanager
def atomic_writer(path: Path) -> Iterator[BufferedRandom]:
    """A stream whose content is at the path, by rename, when all of it is on the disk.

    Whoever uses it may do what has to be done before the rename when the content is complete. The
    file keeps the permissions of the one that it replaces; a link is replaced, and what it leads
    to stays. Errors of writing name the file. One writer at a time.
    """
    with atomic_writers([path]) as (stream,):
        yield stream


@contextmanager
def atomic_writers(paths: Sequence[Path]) -> Iterator[list[BufferedRandom]]:
    """A stream for each path; they are renamed when the content of all is on the disk."""
    parts = [unfinished(path) for path in paths]
    named = parts[0] if len(parts) == 1 else parts[0].parent
    with _renamed(parts, paths), named_errors(named), ExitStack() as opened:
        streams = [opened.enter_context(part.open("w+b")) for part in parts]
        for stream, path in zip(streams, paths, strict=True):
            _keep_permissions(stream, path)
        yield streams
        for stream in streams:
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A new name beside the path for what opens files itself; it is renamed when it is on the disk.

    Several writers do not disturb each other: the last one to end wins. What a killed one left
    behind is removed, and so may be the unfinished file of another writer of the same path.
    """
    for part in path.parent.glob(f".{path.name}.*.part"):
        part.unlink(missing_ok=True)
    part = path.with_name(f".{path.name}.{token_hex(4)}.part")
    with _renamed([part], [path]):
        yield part
        _sync(part, os.O_RDONLY)


def atomic_write(path: Path, content: bytes | str) -> None:
    """Put the content at the path, as `atomic_writer` does; text is UTF-8."""
    with atomic_writer(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def unfinished(path: Path) -> Path:
    """Where `atomic_writer` keeps what is to be at the path until it is whole."""
    return path.with_name(f"{path.name}.part")


def sync_folder(folder: Path) -> None:
    """The names in the folder are on the disk when this returns."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Errors of writing name the file, which the system does only for those of opening."""
    try:
        yield
    except OSError as failed:
        if failed.filename is not None or failed.errno is None:
            raise
        raise OSError(failed.errno, failed.strerror, str(path)) from failed


@contextmanager
def _renamed(parts: Sequence[Path], paths: Sequence[Path]) -> Iterator[None]:
    """Each part has its name when the block ends well; none is left in any case."""
    try:
        yield
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    for folder in dict.fromkeys(path.parent for path in paths):
        sync_folder(folder)


def _keep_permissions(stream: BufferedRandom, path: Path) -> None:
    """Before there is any content: who may not read the file shall not read the new one."""
    try:
        replaced = path.lstat()
    except FileNotFoundError:
        return
    if S_ISREG(replaced.st_mode):
        os.fchmod(stream.fileno(), S_IMODE(replaced.st_mode) & 0o777)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
