"""Contestants that only load: from files to the pixels that a tower takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.album import Pair
from benchmarks.contestants.entry import Entry
from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decode import decode
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.loader import ImageLoader
from clip_scoring.models.resize import TorchResize
from clip_scoring.ports import Pixels
from clip_scoring.records import Record, Rejection

GEOMETRY = Geometry(Fit.SHORTEST_EDGE, 224, 224, 3, (224, 224))
"""Of OpenAI's weights, and what CLIPImageProcessorPil does when it is told nothing."""
BATCH = 64


def open_loader(entry: Entry, geometry: Geometry) -> ImageLoader:
    """The product's loader over the album, with a decoder process for each core."""
    return ImageLoader(
        Fetcher(http=HttpFetcher(HttpPolicy()), roots=[Path(entry.album)], open_objects=None),
        Decoders(
            decoder_command(geometry, Tier(entry.tier)), geometry.shape, count=len(entry.cores)
        ),
    )


class Decoding:
    """The product's decode() in this process and thread."""

    def __init__(self, entry: Entry) -> None:
        self._resize = TorchResize() if Tier(entry.tier) is Tier.FAST else None

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """Nothing is kept."""

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Read and decode each file."""
        for each in pairs:
            self._load(each)
        return []

    def _load(self, pair: Pair) -> Pixels:
        return decode(Path(pair.path).read_bytes(), GEOMETRY, self._resize)


class ThreadPool(Decoding):
    """The same in as many threads as there are cores."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self._pool = ThreadPoolExecutor(len(entry.cores))

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Read and decode each file."""
        list(self._pool.map(self._load, pairs))
        return []


class IsolatedDecoders:
    """The product's loader: decoder processes that may die, fed by an event loop."""

    def __init__(self, entry: Entry) -> None:
        self._loader = open_loader(entry, GEOMETRY)

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """Nothing is kept."""

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Load the files, a batch at a time."""
        for batch in _batches(pairs, BATCH):
            found = self._loader.load([Record(0, each.path, each.caption) for each in batch])
            if bad := [each for each in found.images if isinstance(each, Rejection)]:
                raise RuntimeError(f"an image of the album was rejected: {bad[0]}")
        return []


class ReferenceProcessor:
    """Pillow and the image processor of transformers."""

    def __init__(self, _: Entry) -> None:
        self._processor: Any = CLIPImageProcessorPil()

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """Nothing is kept."""

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Open, convert and preprocess each file."""
        for each in pairs:
            with Image.open(each.path) as opened:
                self._processor(images=opened.convert("RGB"), return_tensors="pt")
        return []


def _batches(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    for at in range(0, len(pairs), size):
        yield pairs[at : at + size]
