"""Files below the image roots, and every way out of them that is closed."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from clip_scoring.images.local import read_below
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason

LIMIT = 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with files, beside a folder of secrets."""
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "top.png").write_bytes(b"top")
    (root / "a" / "b" / "deep.png").write_bytes(b"deep")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.png").write_bytes(b"secret")
    return root


def read(root: Path, path: str) -> bytes:
    return read_below([root], path, limit=LIMIT)


def refusal(*roots: Path, path: str) -> Reason:
    with pytest.raises(ImageRejected) as raised:
        read_below(roots, path, limit=LIMIT)
    return raised.value.rejection.reason


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("top.png", b"top"),
        ("a/b/deep.png", b"deep"),
        ("./a//b/./deep.png", b"deep"),
        ("a/b/../../top.png", b"top"),
        ("../root/top.png", b"top"),
    ],
)
def test_a_relative_path_is_read_from_the_root(root: Path, path: str, expected: bytes) -> None:
    assert read(root, path) == expected


def test_an_absolute_path_inside_the_root_is_read(root: Path) -> None:
    assert read(root, str(root / "a" / "b" / "deep.png")) == b"deep"


def test_an_empty_file_is_read_as_nothing(root: Path) -> None:
    (root / "empty.png").touch()
    assert read(root, "empty.png") == b""


@pytest.mark.parametrize(
    "name", ["é.png", "猫 🐈.png", "-rf", "a\nb.png", "%2e%2e", "~", "$HOME", "*"]
)
def test_a_name_means_its_characters_and_nothing_else(root: Path, name: str) -> None:
    (root / name).write_bytes(b"here")
    assert read(root, name) == b"here"


@pytest.mark.parametrize(
    "path",
    ["../secret/key.png", "a/../../secret/key.png", "a/b/../../../secret/key.png", "..",
     "/etc/passwd", "/", "//etc/passwd", "../" * 50 + "etc/passwd", "../root-other/key.png"],
)  # fmt: skip
def test_a_path_that_leads_out_of_the_root_is_forbidden(root: Path, path: str) -> None:
    assert refusal(root, path=path) is Reason.URI_FORBIDDEN


def test_a_folder_whose_name_begins_like_the_root_is_outside(root: Path) -> None:
    twin = root.with_name("root2")
    twin.mkdir()
    (twin / "key.png").write_bytes(b"secret")
    assert refusal(root, path=str(twin / "key.png")) is Reason.URI_FORBIDDEN


def test_a_link_to_a_file_inside_the_root_is_followed(root: Path) -> None:
    (root / "link.png").symlink_to("a/b/deep.png")
    assert read(root, "link.png") == b"deep"


def test_a_link_to_a_folder_inside_the_root_is_followed(root: Path) -> None:
    (root / "folder").symlink_to(root / "a", target_is_directory=True)
    assert read(root, "folder/b/deep.png") == b"deep"


def test_a_root_that_is_a_link_itself_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert read(tmp_path / "alias", "top.png") == b"top"


@pytest.mark.parametrize("target", ["../secret/key.png", "/etc/passwd", "/dev/zero"])
def test_a_link_to_a_file_outside_is_forbidden(root: Path, target: str) -> None:
    (root / "link.png").symlink_to(target)
    assert refusal(root, path="link.png") is Reason.URI_FORBIDDEN


def test_a_link_to_a_folder_outside_is_forbidden(root: Path, tmp_path: Path) -> None:
    (root / "folder").symlink_to(tmp_path / "secret", target_is_directory=True)
    assert refusal(root, path="folder/key.png") is Reason.URI_FORBIDDEN


def test_a_chain_of_links_that_ends_outside_is_forbidden(root: Path) -> None:
    (root / "second").symlink_to("../secret/key.png")
    (root / "first").symlink_to("second")
    assert refusal(root, path="first") is Reason.URI_FORBIDDEN


def test_a_link_that_leads_nowhere_is_not_found(root: Path) -> None:
    (root / "link.png").symlink_to("gone.png")
    assert refusal(root, path="link.png") is Reason.OBJECT_NOT_FOUND


def test_a_link_to_itself_is_refused(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    assert refusal(root, path="loop") is Reason.URI_FORBIDDEN


def test_a_folder_swapped_for_a_link_after_the_check_gains_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a" / "key.png").write_bytes(b"mine")
    resolve = os.path.realpath

    def swapped(path: object, **options: object) -> object:
        found = resolve(path, **options)  # type: ignore[call-overload]
        if str(found).endswith("key.png"):
            (root / "a").rename(root / "moved")
            (root / "a").symlink_to(tmp_path / "secret", target_is_directory=True)
        return found

    monkeypatch.setattr(os.path, "realpath", swapped)
    assert refusal(root, path="a/key.png") in {Reason.URI_FORBIDDEN, Reason.OBJECT_NOT_FOUND}


@pytest.mark.parametrize("path", ["a", "a/b", "a/", ".", "", "a/.."])
def test_a_folder_is_forbidden(root: Path, path: str) -> None:
    assert refusal(root, path=path) is Reason.URI_FORBIDDEN


def test_refusing_a_folder_leaves_no_descriptor_open(root: Path) -> None:
    refusal(root, path="a")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        refusal(root, path="a")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_pipe_is_forbidden_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    assert refusal(root, path="pipe.png") is Reason.URI_FORBIDDEN


def test_a_socket_is_forbidden(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.png")
        assert refusal(root, path="s.png") is Reason.URI_FORBIDDEN


@pytest.mark.parametrize("path", ["none.png", "none/top.png", "a/b/none.png", "top.png/none.png"])
def test_a_file_that_does_not_exist_is_not_found(root: Path, path: str) -> None:
    assert refusal(root, path=path) is Reason.OBJECT_NOT_FOUND


def test_a_file_of_exactly_the_limit_is_read(root: Path) -> None:
    (root / "full.png").write_bytes(b"x" * LIMIT)
    assert read(root, "full.png") == b"x" * LIMIT


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 40])
def test_a_file_over_the_limit_is_refused_unread(root: Path, size: int) -> None:
    with (root / "sparse.png").open("wb") as stream:
        stream.truncate(size)
    assert refusal(root, path="sparse.png") is Reason.IMAGE_TOO_LARGE


def test_a_file_without_permission_is_forbidden(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def denied(path: str, *args: int, **options: int) -> int:  # root itself may read everything
        if path == "top.png":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", denied)
    assert refusal(root, path="top.png") is Reason.OBJECT_FORBIDDEN


@pytest.mark.parametrize("path", ["\x00", "top.png\x00", "a\x00/b"])
def test_a_path_with_nul_is_invalid(root: Path, path: str) -> None:
    assert refusal(root, path=path) is Reason.URI_INVALID


@pytest.mark.parametrize("path", ["x" * 256, "é" * 128, "a/" * 3000 + "x", "x" * 100_000])
def test_a_path_that_no_file_system_takes_is_refused(root: Path, path: str) -> None:
    assert refusal(root, path=path) in {Reason.URI_INVALID, Reason.OBJECT_NOT_FOUND}


def test_a_relative_path_is_looked_for_in_each_root_in_turn(root: Path, tmp_path: Path) -> None:
    assert read_below([root, tmp_path / "secret"], "key.png", limit=LIMIT) == b"secret"


def test_the_first_root_that_has_a_file_wins(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret" / "top.png").write_bytes(b"second")
    assert read_below([root, tmp_path / "secret"], "top.png", limit=LIMIT) == b"top"


def test_an_absolute_path_may_lie_in_any_root(root: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "secret" / "key.png")
    assert read_below([root, tmp_path / "secret"], path, limit=LIMIT) == b"secret"


def test_a_file_in_the_place_of_a_folder_does_not_hide_the_second_root(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret" / "top.png").mkdir()
    (tmp_path / "secret" / "top.png" / "x").write_bytes(b"second")
    assert read_below([root, tmp_path / "secret"], "top.png/x", limit=LIMIT) == b"second"


def test_a_link_out_of_one_root_into_another_is_not_followed(root: Path, tmp_path: Path) -> None:
    (root / "link.png").symlink_to("../secret/key.png")
    assert refusal(root, tmp_path / "secret", path="link.png") is Reason.OBJECT_NOT_FOUND


def test_a_file_in_no_root_is_not_found(root: Path, tmp_path: Path) -> None:
    assert refusal(root, tmp_path / "secret", path="none.png") is Reason.OBJECT_NOT_FOUND


@pytest.mark.parametrize("path", ["top.png", "/etc/passwd"])
def test_without_roots_every_path_is_forbidden(path: str) -> None:
    assert refusal(path=path) is Reason.URI_FORBIDDEN
