"""A file is the old one or the new one, whole, whatever happens between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clip_scoring.filesystem import (
    atomic_path,
    atomic_write,
    atomic_writer,
    atomic_writers,
    named_errors,
    sync_folder,
)

WRITES: dict[str, Callable[[Path], None]] = {}


def way(write: Callable[[Path], None]) -> Callable[[Path], None]:
    WRITES[write.__name__] = write
    return write


@way
def bytes_at_once(path: Path) -> None:
    atomic_write(path, b"new")


@way
def text_at_once(path: Path) -> None:
    atomic_write(path, "new")


@way
def stream(path: Path) -> None:
    with atomic_writer(path) as opened:
        opened.write(b"ne")
        opened.write(b"w")


@way
def several(path: Path) -> None:
    with atomic_writers([path, path.with_name("other")]) as streams:
        for opened in streams:
            opened.write(b"new")


@way
def name(path: Path) -> None:
    with atomic_path(path) as part:
        part.write_bytes(b"new")


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return WRITES[request.param]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_the_content_is_there_and_nothing_else(path: Path, write: Callable[[Path], None]) -> None:
    write(path)
    assert path.read_bytes() == b"new"
    assert names(path.parent) - {"other"} == {"file"}


def test_a_file_that_was_not_there_has_the_usual_permissions(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "file")
    (tmp_path / "usual").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_stream_keeps_the_permissions_of_the_file_that_it_replaces(path: Path, mode: int) -> None:
    path.chmod(mode)
    with atomic_writer(path) as opened:
        opened.write(b"new")
        assert os.fstat(opened.fileno()).st_mode & 0o777 == mode
    assert path.stat().st_mode & 0o777 == mode


def test_a_link_is_replaced_and_what_it_leads_to_stays(
    path: Path, write: Callable[[Path], None]
) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    write(link)
    assert not link.is_symlink()
    assert (link.read_bytes(), path.read_bytes()) == (b"new", b"old")


def test_who_reads_the_old_file_reads_it_to_its_end(
    path: Path, write: Callable[[Path], None]
) -> None:
    with path.open("rb") as reader:
        write(path)
        assert reader.read() == b"old"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_the_old_file(path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), atomic_writer(path) as opened:
        opened.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert names(path.parent) == {"file"}


def test_of_several_none_is_renamed_before_all_are_on_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = watched(monkeypatch, path)
    several(path)
    assert synced == [("file.part", b"old"), ("other.part", b"old"), (path.parent.name, b"new")]


def test_content_is_on_the_disk_before_the_name_and_then_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = watched(monkeypatch, path)
    stream(path)
    assert synced == [("file.part", b"old"), (path.parent.name, b"new")]


def watched(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[tuple[str, bytes]]:
    """What is synced, and what is at the path then."""
    synced: list[tuple[str, bytes]] = []

    def fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((target.name, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


def test_a_full_disk_is_named_and_leaves_the_old_file(
    path: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path)
    assert path.read_bytes() == b"old"
    assert names(path.parent) == {"file"}


def test_a_disk_that_fills_up_while_it_is_written_to_is_named(path: Path) -> None:
    """A limit of the file's size takes the place of the disk; a process keeps its limit."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from clip_scoring.filesystem import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    atomic_write(Path(sys.argv[1]), b'x' * 2000)\n"
        "except OSError as failed:\n    print(failed.filename)\n"
    )
    ended = python(program, path)
    assert (ended.returncode, ended.stdout) == (0, f"{path}.part\n")
    assert path.read_bytes() == b"old"
    assert names(path.parent) == {"file"}


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failed:
        atomic_write(tmp_path / "none" / "file", b"new")
    assert failed.value.filename == str(tmp_path / "none" / "file.part")


def test_a_folder_without_the_right_to_write_keeps_the_old_file(path: Path) -> None:
    """In a process that gave root's right to write anywhere away."""
    program = (
        "import ctypes, os, sys; from pathlib import Path\n"
        "from clip_scoring.filesystem import atomic_write\n"
        "if os.geteuid() == 0:\n    os.setegid(65534); os.seteuid(65534)\n"
        "try:\n    atomic_write(Path(sys.argv[1]), b'new')\n"
        "except PermissionError as failed:\n    print(failed.filename)\n"
    )
    path.parent.chmod(0o555)
    try:
        ended = python(program, path)
    finally:
        path.parent.chmod(0o755)
    assert (ended.returncode, ended.stdout) == (0, f"{path}.part\n"), ended.stderr
    assert path.read_bytes() == b"old"


STEPS = {
    "written": ("os.fsync", "before"),
    "synced": ("os.fsync", "after"),
    "renamed": ("os.replace", "after"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("form", ["stream", "name", "several"])
def test_a_kill_between_the_steps_leaves_the_old_or_the_new_and_the_next_write_tidies_up(
    path: Path, step: str, form: str
) -> None:
    function, when = STEPS[step]
    ended = python(KILLED, path, function, when, form)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert path.read_bytes() == (b"new" if step == "renamed" else b"old")
    WRITES[form](path)
    assert path.read_bytes() == b"new"
    assert names(path.parent) - {"other"} == {"file"}


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.test_filesystem import WRITES

_, path, function, when, form = sys.argv
real = getattr(os, function.removeprefix("os."))

def deadly(*args, **more):
    if when == "after":
        real(*args, **more)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, function.removeprefix("os."), deadly)
WRITES[form](Path(path))
"""


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_several_writers_of_one_name_do_not_disturb_each_other(path: Path) -> None:
    with atomic_path(path) as first:
        first.write_bytes(b"first")
        assert first.parent == path.parent
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"first"


def test_errors_that_have_no_name_get_one_and_others_keep_theirs(tmp_path: Path) -> None:
    def raised(error: Exception) -> Any:
        with pytest.raises(type(error)) as failed, named_errors(tmp_path):
            raise error
        return failed.value

    assert raised(OSError(28, "full")).filename == str(tmp_path)
    assert raised(OSError(2, "gone", "other")).filename == "other"
    assert str(raised(OSError("in words"))) == "in words"
    assert isinstance(raised(ValueError("no")), ValueError)


def test_a_file_is_no_folder_to_be_synced(path: Path) -> None:
    sync_folder(path.parent)
    with pytest.raises(NotADirectoryError):
        sync_folder(path)


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before
