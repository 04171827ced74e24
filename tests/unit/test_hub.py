"""Weights by hub id come from a stub of the hub on the loopback interface, once, and no more."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http, close_session

from clip_scoring.errors import WeightsInvalid, WeightsUnreachable
from clip_scoring.models.hub import HubSnapshot, fetch_snapshot, is_hub_id
from clip_scoring.models.weights import open_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOCATION = f"owner/name@{COMMIT}"
TINY = open_weights("tiny").folder
ALLOWED = {
    "config.json": (TINY / "config.json").read_bytes(),
    "preprocessor_config.json": (TINY / "preprocessor_config.json").read_bytes(),
    "processor_config.json": b"{}",
    "tokenizer.json": (TINY / "tokenizer.json").read_bytes(),
    "tokenizer_config.json": b"{}",
    "special_tokens_map.json": b"{}",
    "vocab.json": b"{}",
    "merges.txt": b"a b",
    "spiece.model": b"pieces",
    "model.safetensors": b"tensors",
    "model-00001-of-00002.safetensors": b"more tensors",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
}
OTHERS = {
    "README.md": b"words",
    "pytorch_model.bin": b"pickle",
    "modeling_evil.py": b"raise SystemExit",
    "tf_model.h5": b"h5",
    "optimizer.json": b"{}",
    "onnx/config.json": b"{}",
    "unet/model.safetensors": b"tensors",
    ".gitattributes": b"",
}


class Hub(ThreadingHTTPServer):
    """The answers of the hub for one repository; keeps the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = ALLOWED | OTHERS
        self.refusals: dict[str, tuple[int, str]] = {}
        self.seen: list[tuple[str, str]] = []
        self.agents: set[str] = set()
        self.cut = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def fetched(self) -> set[str]:
        """The names of the files whose content was asked for."""
        start = f"/owner/name/resolve/{COMMIT}/"
        return {path.removeprefix(start) for verb, path in self.seen if path.startswith(start)}


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.seen.append((self.command, path))
        self.server.agents.add(self.headers["user-agent"])
        for start, (status, code) in self.server.refusals.items():
            if path.startswith(start):
                return self.answer(status, b"", {"X-Error-Code": code} if code else {})
        if path == f"/api/models/owner/name/tree/{COMMIT}":
            return self.answer(200, self.tree(), {"Content-Type": "application/json"})
        name = path.removeprefix(f"/owner/name/resolve/{COMMIT}/")
        if name in self.server.files:
            content = self.server.files[name]
            etag = sha1(content, usedforsecurity=False).hexdigest()
            return self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        if path.startswith("/api/models/owner/name/tree/"):
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        return self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})

    def tree(self) -> bytes:
        return json.dumps([
            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            for name, content in self.server.files.items()
        ]).encode()  # fmt: skip

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:-1] if self.server.cut and "resolve" in self.path else body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Any]]:
    """No name is looked up, no other machine reached, no token read, no wait between tries."""
    connect, names = socket.socket.connect, socket.getaddrinfo
    seen: list[Any] = []

    def guarded(self: socket.socket, address: Any) -> None:
        assert address[0] in {"127.0.0.1", "::1"}, f"a connection to {address}"
        seen.append(address)
        connect(self, address)

    def looked_up(host: Any, *rest: Any, **more: Any) -> Any:
        assert host in {"127.0.0.1", b"127.0.0.1"}, f"a look-up of {host}"
        return names(host, *rest, **more)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)
    close_session()
    yield seen
    close_session()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetch(hub: Hub, cache: Path, location: str = LOCATION) -> HubSnapshot:
    return fetch_snapshot(location, endpoint=hub.url, cache=cache)


def refusal(hub: Hub, cache: Path, location: str = LOCATION) -> str:
    with pytest.raises(WeightsInvalid) as raised:
        fetch(hub, cache, location)
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"weights {location}: ")
    return text


def unreachable(hub: Hub, cache: Path) -> str:
    with pytest.raises(WeightsUnreachable) as raised:
        fetch(hub, cache)
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert LOCATION in text
    return text


def test_exactly_the_files_of_weights_are_downloaded(hub: Hub, cache: Path) -> None:
    found = fetch(hub, cache)
    assert {each.name: each.read_bytes() for each in found.folder.iterdir()} == ALLOWED
    assert hub.fetched == set(ALLOWED)
    assert found.revision == COMMIT


def test_every_connection_goes_to_the_endpoint(
    hub: Hub, cache: Path, connections: list[Any]
) -> None:
    fetch(hub, cache)
    assert {tuple(each) for each in connections} == {("127.0.0.1", hub.server_port)}


def test_a_second_call_asks_nothing(hub: Hub, cache: Path) -> None:
    first = fetch(hub, cache)
    asked = len(hub.seen)
    assert fetch(hub, cache) == first
    assert len(hub.seen) == asked


def test_what_is_in_the_cache_needs_no_hub(hub: Hub, cache: Path) -> None:
    first = fetch(hub, cache)
    assert fetch_snapshot(LOCATION, endpoint="http://127.0.0.1:9", cache=cache) == first


def test_what_is_in_the_cache_is_there_offline(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch(hub, cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(hub, cache) == first


def test_offline_without_the_snapshot_names_the_setting(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(hub, cache)
    assert hub.seen == []


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "merges.txt"])
def test_a_snapshot_that_lacks_a_file_is_completed(hub: Hub, cache: Path, lost: str) -> None:
    found = fetch(hub, cache)
    (found.folder / lost).unlink()
    fetch(hub, cache)
    assert (found.folder / lost).read_bytes() == ALLOWED[lost]


def test_single_files_cached_by_another_program_are_completed(hub: Hub, cache: Path) -> None:
    found = fetch(hub, cache)
    shutil.rmtree(cache / "models--owner--name" / "trees")
    for each in found.folder.glob("*.safetensors"):
        each.unlink()
    fetch(hub, cache)
    assert {each.name for each in found.folder.iterdir()} == set(ALLOWED)


def test_a_part_in_the_cache_and_no_hub_may_be_asked_again(hub: Hub, cache: Path) -> None:
    """As another program leaves it: one file, and no list of the files that there are."""
    folder = cache / "models--owner--name" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(ALLOWED["config.json"])
    hub.shutdown()
    hub.server_close()
    unreachable(hub, cache)


def test_an_interrupted_download_goes_on(hub: Hub, cache: Path) -> None:
    hub.refusals[f"/owner/name/resolve/{COMMIT}/model.safetensors"] = (503, "")
    unreachable(hub, cache)
    hub.refusals.clear()
    assert {each.name for each in fetch(hub, cache).folder.iterdir()} == set(ALLOWED)


def test_the_download_is_announced_and_its_end_has_the_path(
    hub: Hub, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "clip_scoring")
    folder = fetch(hub, cache).folder
    begun, ended = [each.message for each in caplog.records if each.name.startswith("clip_sc")]
    assert begun == f"weights {LOCATION}: downloading"
    assert ended.startswith(f"weights {LOCATION}: downloaded in ")
    assert ended.endswith(f" s to {folder}")


def test_nothing_is_drawn_and_nothing_told_about_this_machine(
    hub: Hub, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetch(hub, cache)
    assert capfd.readouterr() == ("", "")
    assert not any("torch" in each for each in hub.agents)


def test_a_revision_that_the_repository_lacks_is_refused(hub: Hub, cache: Path) -> None:
    assert "no such revision" in refusal(hub, cache, f"owner/name@{'f' * 40}")


def test_a_repository_that_is_not_there_is_refused(hub: Hub, cache: Path) -> None:
    assert "no such repository" in refusal(hub, cache, f"owner/other@{COMMIT}")


def test_a_gated_repository_is_refused_with_what_to_do(hub: Hub, cache: Path) -> None:
    hub.refusals["/owner/name/resolve/"] = (401, "GatedRepo")
    assert "accept its terms and set HF_TOKEN" in refusal(hub, cache)


def test_a_private_repository_is_refused(hub: Hub, cache: Path) -> None:
    hub.refusals["/"] = (401, "RepoNotFound")
    assert "private: set HF_TOKEN" in refusal(hub, cache)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("path", ["/api/", "/owner/"])
def test_other_client_errors_are_not_tried_again(
    hub: Hub, cache: Path, status: int, path: str
) -> None:
    hub.refusals[path] = (status, "")
    assert f"answered {status}" in refusal(hub, cache)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/", 429), ("/api/", 500), ("/api/", 503), ("/owner/", 500), ("/owner/", 504)],
)
def test_a_hub_in_trouble_may_be_asked_again(hub: Hub, cache: Path, status: int, path: str) -> None:
    hub.refusals[path] = (status, "")
    assert f"answered {status}" in unreachable(hub, cache)


def test_a_hub_that_nobody_runs_may_be_asked_again(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(WeightsUnreachable, match="out of reach"):
            fetch_snapshot(LOCATION, endpoint=url, cache=cache)


def test_a_download_that_breaks_off_may_be_tried_again(hub: Hub, cache: Path) -> None:
    hub.cut = True
    unreachable(hub, cache)
    hub.cut = False
    assert {each.name for each in fetch(hub, cache).folder.iterdir()} == set(ALLOWED)


def test_a_page_in_place_of_the_listing_may_be_a_portal(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Handler, "tree", lambda _: b"<html>please log in</html>")
    unreachable(hub, cache)


def test_a_cache_that_is_no_folder_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refusal(hub, tmp_path / "file")


def test_a_repository_without_safetensors_is_refused_when_it_is_opened(
    hub: Hub, cache: Path
) -> None:
    hub.files = {name: each for name, each in hub.files.items() if "safetensors" not in name}
    folder = fetch(hub, cache).folder
    assert "pytorch_model.bin" not in {each.name for each in folder.iterdir()}
    with pytest.raises(WeightsInvalid, match=r"no \*\.safetensors file"):
        open_weights(str(folder))


def test_a_revision_with_nothing_of_weights_is_refused(hub: Hub, cache: Path) -> None:
    hub.files = OTHERS
    assert "none of the files of weights" in refusal(hub, cache)


def test_what_was_downloaded_can_be_opened(hub: Hub, cache: Path) -> None:
    assert open_weights(str(fetch(hub, cache).folder)).geometry.shape[:2] == (64, 64)


@pytest.mark.parametrize(
    "location",
    [
        "owner/name",
        "owner/name@main",
        "owner/name@v1.0",
        "owner/name@",
        f"owner/name@{COMMIT[:12]}",
        f"owner/name@{COMMIT.upper()}",
        f"owner/name@{COMMIT}0",
        f"owner/name@{COMMIT}\n",
        f"name@{COMMIT}",
        f"a/b/c@{COMMIT}",
        f"../name@{COMMIT}",
        f"owner/..@{COMMIT}",
        f"owner name/x@{COMMIT}",
        f"@{COMMIT}",
    ],
)
def test_anything_but_a_pinned_commit_is_refused_with_the_way_to_write_it(
    hub: Hub, cache: Path, location: str
) -> None:
    with pytest.raises(WeightsInvalid, match="write owner/name@ and the 40 hex digits") as raised:
        fetch(hub, cache, location)
    assert len(str(raised.value).splitlines()) == 1
    assert hub.seen == []


def test_a_name_that_the_hub_forbids_is_refused(hub: Hub, cache: Path) -> None:
    assert "not a name" in refusal(hub, cache, f"owner/a--b@{COMMIT}")


@pytest.mark.parametrize("location", [LOCATION, "owner/name@main", "name@x"])
def test_a_location_with_a_revision_is_a_hub_id(location: str) -> None:
    assert is_hub_id(location)


@pytest.mark.parametrize(
    "location", ["tiny", "owner/name", "/a/b@1", "./a@1", "../a@1", "~/a@1", "~me/a@1"]
)
def test_a_path_is_no_hub_id(location: str) -> None:
    assert not is_hub_id(location)
