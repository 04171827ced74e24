"""Which way an address of an image is fetched, and what was needed for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.fetcher import MAX_BYTES, Fetcher
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.png").write_bytes(b"image")
    (root / "50% a.png").write_bytes(b"half")
    (root / "c:d.png").write_bytes(b"colon")
    return root


def fetched(root: Path, *uris: str) -> list[bytes | Reason]:
    found, _ = fetched_and_measured(root, *uris)
    return found


def fetched_and_measured(root: Path, *uris: str) -> tuple[list[bytes | Reason], list[Any]]:
    async def one(fetcher: Fetcher, uri: str) -> bytes | Reason:
        try:
            async with ByteBudget(MAX_BYTES).share() as share:
                return await fetcher.fetch(uri, share)
        except ImageRejected as refused:
            return refused.rejection.reason

    async def work() -> tuple[list[bytes | Reason], list[Any]]:
        fetcher = Fetcher(http=HttpFetcher(), roots=[root], open_objects=None)
        found, measured = [], []
        for uri in uris:
            found.append(await one(fetcher, uri))
            measured.append(dict(fetcher.drain_metrics().counts))
        await fetcher.close()
        return found, measured

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("uri", "body"),
    [("a.png", b"image"),
     ("./a.png", b"image"), ("{}/a.png", b"image"), ("file://{}/a.png", b"image"),
     ("FILE:{}/a.png", b"image"), ("file://localhost{}/a.png", b"image"), ("50% a.png", b"half"),
     ("file://{}/50%25%20a.png", b"half"), ("./c:d.png", b"colon")],
)  # fmt: skip
def test_a_path_or_a_file_uri_is_a_file(root: Path, uri: str, body: bytes) -> None:
    assert fetched(root, uri.format(root)) == [body]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("", "uri_invalid"), ("  ", "uri_invalid"),
     ("x" * 5000, "uri_invalid"), ("a\x00", "uri_invalid"),
     ("a\npng", "uri_invalid"), ("\ud800", "uri_invalid"), ("file://[", "uri_invalid"),
     ("file:///%00", "uri_invalid"), ("file://host/a.png", "uri_forbidden"),
     ("ftp://h/x", "uri_forbidden"), ("data:image/png;base64,AA", "uri_forbidden"),
     ("c:d.png", "uri_forbidden"), ("s3://b/k", "uri_forbidden"), ("javascript:1", "uri_forbidden"),
     ("http:a.png", "uri_invalid"), ("../a.png", "uri_forbidden"), ("file:///etc/passwd",
     "uri_forbidden"), ("file:../../etc/passwd", "uri_forbidden"), ("b.png", "object_not_found"),
     ("http://127.0.0.1/", "uri_forbidden")],
)  # fmt: skip
def test_anything_else_is_refused_with_a_reason(root: Path, uri: str, reason: str) -> None:
    assert fetched(root, uri) == [Reason(reason)]


def test_bytes_are_counted_since_they_were_asked_for_last(root: Path) -> None:
    _, measured = fetched_and_measured(root, "a.png", "none.png", "50% a.png")
    assert [each["bytes"] for each in measured] == [5, 0, 4]
    assert set(measured[0]) == {
        "bytes", "fetch_retries", "dns_lookups", "connections", "hosts_given_up"
    }  # fmt: skip


def test_files_take_their_part_of_the_budget_before_they_are_read(root: Path) -> None:
    async def work() -> bytes:
        budget = ByteBudget(3)
        fetcher = Fetcher(http=HttpFetcher(), roots=[root], open_objects=None)
        async with budget.share() as other, budget.share() as share:
            await other.grow(4)
            fetching = asyncio.ensure_future(fetcher.fetch("a.png", share))
            done, _ = await asyncio.wait([fetching], timeout=0.2)
            assert not done
            other.give_back()
            body = await fetching
            assert budget.bytes_in_use == 5
        await fetcher.close()
        return body

    assert asyncio.run(work()) == b"image"


def test_a_fetcher_that_fetched_nothing_can_be_closed_and_made_outside_of_a_loop() -> None:
    asyncio.run(Fetcher(http=HttpFetcher(), roots=[], open_objects=None).close())
