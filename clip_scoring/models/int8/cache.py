"""A folder of files written once, with a manifest of their SHA-256; whole, or not there."""

from __future__ import annotations

import errno
import json
import logging
import tempfile
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path

from clip_scoring.errors import SettingsInvalid
from clip_scoring.filesystem import atomic_write, sync_folder

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


def read_export(folder: Path, names: Collection[str]) -> dict[str, bytes] | None:
    """The files of an export, or None where it is not there or not what was written."""
    try:
        manifest = (folder / _MANIFEST).read_bytes()
        files = {name: (folder / name).read_bytes() for name in sorted(names)}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as broken:
        raise SettingsInvalid(f"cache {folder}: {broken.strerror}") from broken
    if manifest != _manifest(files):
        log.warning("cache %s is damaged, its manifest names other files", folder)
        return None
    return files


def publish_export(files: Mapping[str, bytes], folder: Path) -> None:
    """Put the files at `folder` at once; the same export by another process is as good."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as room:
            _publish(files, folder, Path(room))
    except OSError as broken:
        raise SettingsInvalid(f"cache {folder}: {broken.strerror}") from broken


def _publish(files: Mapping[str, bytes], folder: Path, room: Path) -> None:
    fresh = room / "fresh"
    fresh.mkdir()
    for name, content in {**files, _MANIFEST: _manifest(files)}.items():
        atomic_write(fresh / name, content)
    while not _moved(fresh, folder):
        if read_export(folder, files) is not None:
            return
        _discard(folder, room)
    sync_folder(folder.parent)


def _manifest(files: Mapping[str, bytes]) -> bytes:
    digests = {name: sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps(digests, indent=1, sort_keys=True).encode()


def _moved(fresh: Path, folder: Path) -> bool:
    """False where something lies at `folder` already."""
    try:
        fresh.rename(folder)
    except OSError as refused:
        if refused.errno in _TAKEN:
            return False
        raise
    return True


def _discard(folder: Path, room: Path) -> None:
    """Move what lies at `folder` out of the way; another process may have been quicker."""
    try:
        folder.rename(Path(tempfile.mkdtemp(dir=room)) / folder.name)
    except FileNotFoundError:
        return
