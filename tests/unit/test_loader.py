"""The stage that loads images: in order, shared, bounded, timed; isolated processes decode."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.budget import Share
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.loader import ImageLoader, StageClock
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Reason, Record, Rejection

GEOMETRY = Geometry(Fit.STRETCH, 4, 4, resample=0, crop=None)


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


class CountingFetcher(Fetcher):
    """Counts what is really fetched; `held` ones wait to be let go, `never` for good."""

    def __init__(self, root: Path) -> None:
        super().__init__(http=HttpFetcher(HttpPolicy()), roots=[root], open_objects=None)
        self.fetched: list[str] = []
        self.let_go = Event()

    async def fetch(self, uri: str, share: Share) -> bytes:
        self.fetched.append(uri)
        if uri.startswith("held"):
            await asyncio.to_thread(self.let_go.wait)
        if uri.startswith("never"):
            await asyncio.get_running_loop().create_future()
        return await super().fetch(uri, share)


@pytest.fixture
def fetcher(tmp_path: Path) -> CountingFetcher:
    for shade in range(40):
        (tmp_path / f"{shade}.png").write_bytes(png(shade))
    (tmp_path / "held.png").write_bytes(png(200))
    (tmp_path / "copy of 7.png").write_bytes(png(7))
    return CountingFetcher(tmp_path)


@pytest.fixture
def loader(fetcher: CountingFetcher) -> Iterator[ImageLoader]:
    decoders = Decoders(decoder_command(GEOMETRY, Tier.EXACT), GEOMETRY.shape, count=2)
    made = ImageLoader(fetcher, decoders)
    yield made
    fetcher.let_go.set()
    made.close()


def records(*uris: str) -> list[Record]:
    return [Record(at, uri, "a caption") for at, uri in enumerate(uris)]


def shade(image: DecodedImage | Rejection) -> int | Reason:
    if isinstance(image, Rejection):
        return image.reason
    assert (image.pixels.shape, image.pixels.dtype) == ((4, 4, 3), np.uint8)
    return int(image.pixels[0, 0, 0])


def test_images_come_in_the_order_of_their_records(loader: ImageLoader) -> None:
    order = [int(each) for each in np.random.default_rng(3).permutation(40)]
    loaded = loader.load(records(*(f"{each}.png" for each in order)))
    assert [shade(each) for each in loaded.images] == order


def test_a_bad_image_costs_its_own_place_only(loader: ImageLoader, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(png(1)[:40])
    loaded = loader.load(records("1.png", "absent.png", "broken.png", "ftp://host/2.png", "2.png"))
    assert [shade(each) for each in loaded.images] == [
        1, Reason.OBJECT_NOT_FOUND, Reason.IMAGE_UNDECODABLE, Reason.URI_FORBIDDEN, 2
    ]  # fmt: skip


def test_an_address_that_repeats_is_fetched_once(
    loader: ImageLoader, fetcher: CountingFetcher
) -> None:
    loaded = loader.load(records("1.png", "2.png", "1.png", "1.png"))
    assert [shade(each) for each in loaded.images] == [1, 2, 1, 1]
    assert sorted(fetcher.fetched) == ["1.png", "2.png"]


def test_equal_bytes_have_equal_digests_wherever_they_come_from(loader: ImageLoader) -> None:
    asked = [*records("7.png", "copy of 7.png", "8.png"), Record(3, "in a tar", "c", image=png(7))]
    images = [each for each in loader.load(asked).images if isinstance(each, DecodedImage)]
    digests = [each.digest for each in images]
    assert digests[0] == digests[1] == digests[3] != digests[2]


def test_batches_are_loaded_beside_each_other(
    loader: ImageLoader, fetcher: CountingFetcher
) -> None:
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(loader.load, records("held.png", "1.png"))
        assert [shade(each) for each in loader.load(records("2.png")).images] == [2]
        assert not waiting.done()
        fetcher.let_go.set()
        assert [shade(each) for each in waiting.result().images] == [200, 1]


def test_closing_gives_up_what_is_in_flight(loader: ImageLoader, fetcher: CountingFetcher) -> None:
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(loader.load, records("never.png", "1.png"))
        while "never.png" not in fetcher.fetched:
            loader.load(records("2.png"))
        loader.close()
        assert isinstance(asked.exception(), CancelledError)
    with pytest.raises(CancelledError, match="closed"):
        loader.load(records("1.png"))
    loader.close()


def test_counts_say_what_was_fetched(loader: ImageLoader) -> None:
    measures = loader.load(records("1.png", "2.png")).measures
    assert measures.counts["bytes"] == len(png(1)) + len(png(2))
    assert measures.counts["decoder_starts"] in {1, 2}
    assert set(measures.seconds) == {"fetch", "decode"}


@pytest.fixture
def timed() -> tuple[StageClock, Callable[[float, int], None]]:
    """A clock of 4 decoders, and how to let time pass with so many of them busy from then on."""
    now, busy = [0.0], [0]
    stages = StageClock(4, busy=lambda: busy[0], clock=lambda: now[0])

    def turn(seconds: float, then_busy: int) -> None:
        now[0] += seconds
        busy[0] = then_busy
        stages.note()

    return stages, turn


def test_seconds_are_split_by_the_share_of_busy_decoders(
    timed: tuple[StageClock, Callable[[float, int], None]],
) -> None:
    stages, turn = timed
    turn(1.0, 0)  # nothing to do: nobody's time
    with stages.fetching():
        turn(2.0, 1)  # only fetching
        turn(4.0, 4)  # one decoder of four busy
    turn(8.0, 2)  # all busy, nothing fetched any more
    turn(1.0, 0)  # two busy
    assert stages.drain_metrics().seconds == {"fetch": 2.0 + 3.0, "decode": 1.0 + 8.0 + 0.5}
    assert stages.drain_metrics().seconds == {"fetch": 0.0, "decode": 0.0}
