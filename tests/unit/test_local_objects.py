"""One local file as an object: its version is its content, and it is watched while it is read."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clip_scoring.errors import ObjectChanged, ObjectUnreadable
from clip_scoring.runs import Window
from clip_scoring.sources import local as local_files
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.stored_objects import StoredObject

EVER = Window(None, datetime(9999, 1, 1, tzinfo=UTC))
CONTENT = b"0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "my pairs.csv"
    write(path, CONTENT, at=1_000_000)
    return path


def write(path: Path, content: bytes, *, at: int) -> None:
    path.write_bytes(content)
    os.utime(path, (at, at))


def stored_at(path: Path) -> StoredObject:
    return next(LocalFiles(path).list_objects(EVER))


def test_the_file_is_listed_with_its_hash_its_size_and_its_time(path: Path) -> None:
    version = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    uri = f"file://{path}".replace(" ", "%20")
    modified = datetime.fromtimestamp(1_000_000, UTC)
    assert list(LocalFiles(path).list_objects(EVER)) == [StoredObject(uri, version, 10, modified)]


def test_a_relative_path_is_listed_with_the_uri_of_the_absolute_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert stored_at(Path(path.name)) == stored_at(path)


@pytest.mark.parametrize(("start", "stop", "listed"), [
    (None, 1_000_000, 0), (None, 1_000_001, 1), (1_000_000, 1_000_001, 1), (1_000_001, 1_000_002, 0)
])  # fmt: skip
def test_the_window_is_half_open(path: Path, start: int | None, stop: int, listed: int) -> None:
    begin = None if start is None else datetime.fromtimestamp(start, UTC)
    window = Window(begin, datetime.fromtimestamp(stop, UTC))
    assert len(list(LocalFiles(path).list_objects(window))) == listed


@pytest.mark.parametrize(("start", "rest"), [(0, CONTENT), (4, b"456789"), (10, b""), (99, b"")])
def test_reading_begins_where_it_is_asked_to(path: Path, start: int, rest: bytes) -> None:
    with LocalFiles(path).open(stored_at(path), start) as stream:
        assert stream.read() == rest


def test_the_file_is_seekable(path: Path) -> None:
    with LocalFiles(path).open_seekable(stored_at(path)) as stream:
        assert (stream.seek(-3, os.SEEK_END), stream.read(2), stream.tell()) == (7, b"78", 9)


def test_other_content_under_the_same_name_is_a_change(path: Path) -> None:
    stored = stored_at(path)
    write(path, b"9876543210", at=1_000_001)
    with pytest.raises(ObjectChanged, match=f"it was {stored.version}, plan again"):
        LocalFiles(path).open(stored)


def test_the_same_content_written_again_is_no_change(path: Path) -> None:
    stored = stored_at(path)
    write(path, CONTENT, at=1_000_001)
    with LocalFiles(path).open(stored) as stream:
        assert stream.read() == CONTENT


def test_a_file_that_is_written_to_while_it_is_read_is_a_change(path: Path) -> None:
    path.write_bytes(CONTENT * 100_000)
    with LocalFiles(path).open(stored_at(path)) as stream:
        stream.read(10)
        write(path, b"9876543210" * 100_000, at=1_000_001)
        with pytest.raises(ObjectChanged, match="plan again"):
            stream.read()


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end(path: Path) -> None:
    path.write_bytes(CONTENT * 100_000)
    with LocalFiles(path).open(stored_at(path)) as stream:
        stream.read(10)
        other = path.with_name("other")
        other.write_bytes(b"other")
        other.rename(path)
        assert stream.read() == (CONTENT * 100_000)[10:]


def test_the_hash_is_taken_once_while_the_file_stays_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def noted(stream, name):
        taken.append(name)
        return hashlib.file_digest(stream, name)

    monkeypatch.setattr(local_files, "file_digest", noted)
    stored = stored_at(path)
    for _ in range(3):
        LocalFiles(path).open(stored).close()
    assert taken == ["sha256"]


def test_a_missing_file_is_unreadable_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ObjectUnreadable, match=r"/none\.csv: No such file or directory"):
        stored_at(tmp_path / "none.csv")


def test_a_file_that_is_gone_since_planning_is_a_change(path: Path) -> None:
    stored = stored_at(path)
    path.unlink()
    with pytest.raises(ObjectChanged, match="is gone since planning: plan again"):
        LocalFiles(path).open(stored)


def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ObjectUnreadable, match="is not a regular file"):
        stored_at(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ObjectUnreadable, match="is not a regular file"):
        stored_at(tmp_path / "pipe")


def test_no_other_file_can_be_opened(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(CONTENT)
    with pytest.raises(ObjectUnreadable, match="the file of this source"):
        LocalFiles(path).open(stored_at(other))
