"""Contestants that are the product, whole or its towers alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.album import Pair
from benchmarks.contestants.entry import Entry
from benchmarks.contestants.loading import open_loader
from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.memory.runs import InMemoryRunStore
from clip_scoring.memory.source import MemorySource
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.captions import CaptionTokenizer, Tokens
from clip_scoring.models.clip import ClipScorer
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.int8.onnx_towers import open_int8
from clip_scoring.models.pixels import Normaliser
from clip_scoring.models.towers import TorchTowers, Towers, load_model
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.planning import plan_run
from clip_scoring.ports import DecodedImage, LoadedImages, Loader, Scorer
from clip_scoring.records import Record, Rejection, Score
from clip_scoring.runs import RunRequest, Trigger, Window, WindowKind
from clip_scoring.scoring import Worker, score_shard

DAY = date(2026, 1, 1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BATCH = {"cpu": 64, "cuda": 512}


class Product:
    """Loader and scorer through score_shard, between a source and a sink in memory."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._weights = open_weights(entry.weights)
        self._fingerprint = self._weights.fingerprint(
            tier=Tier(entry.tier), dtype=Dtype(entry.dtype)
        )
        self._towers = _towers(self._weights, entry)
        self._loader = open_loader(entry, self._weights.geometry)
        self._scorer: ClipScorer | None = None

    def prepare(self, _: Sequence[Pair]) -> None:
        """A scorer that has seen nothing; the towers are loaded once."""
        engine = ComputeOptions(device=self._entry.device, threads=self._entry.threads)
        self._scorer = ClipScorer(self._weights, self._fingerprint, self._towers, engine)

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Score the pairs as one shard."""
        if self._scorer is None:
            raise RuntimeError("a round begins with prepare()")
        return scored(pairs, self._loader, self._scorer, batch_size=BATCH[self._entry.device])


class ProductInMemory(Product):
    """The same with pixels that are there already."""

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """Load all images."""
        super().prepare(pairs)
        self._ready = ReadyImages(self._loader, pairs)

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Score the pairs as one shard."""
        if self._scorer is None:
            raise RuntimeError("a round begins with prepare()")
        return scored(pairs, self._ready, self._scorer, batch_size=BATCH[self._entry.device])


class ReadyImages:
    """A Loader whose images were loaded before."""

    def __init__(self, loader: Loader, pairs: Sequence[Pair]) -> None:
        loaded = loader.load(_records(pairs)).images
        self._images = dict(zip((each.path for each in pairs), loaded, strict=True))

    def load(self, records: Sequence[Record]) -> LoadedImages:
        """One entry per record, in order."""
        return LoadedImages([self._images[each.image_uri] for each in records], StageMetrics())


class ModelOnly:
    """The towers on inputs that lie ready, in full calls: what no product can exceed."""

    def __init__(self, entry: Entry) -> None:
        weights = open_weights(entry.weights)
        self._device = torch.device(entry.device)
        self._towers = _towers(weights, entry)
        self._loader = open_loader(entry, weights.geometry)
        self._tokenizer = CaptionTokenizer(weights)
        self._normalise = Normaliser(weights, self._device)

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """Pixels and tokens of all pairs, in calls of as many rows as the product has."""
        towers = self._towers
        loaded = [_decoded(each) for each in self._loader.load(_records(pairs)).images]
        self._images = [
            self._normalise([each.pixels for each in some], len(some)).clone()
            for some in _cut(loaded, towers.image_device_batch_size)
        ]
        tokens = self._tokenizer.tokenize([each.caption for each in pairs])
        alike: dict[int, list[Tokens]] = defaultdict(list)
        for each in sorted(tokens, key=self._tokenizer.length):
            alike[self._tokenizer.length(each) if towers.lengths_apart else 0].append(each)
        self._captions = [
            self._tokenizer.padded(some, len(some))
            for group in alike.values()
            for some in _cut(group, towers.caption_device_batch_size)
        ]

    @torch.inference_mode()
    def run(self, _: Sequence[Pair]) -> Sequence[float]:
        """Encode all of it."""
        for pixels in self._images:
            self._towers.encode_images(pixels)
        for ids, mask in self._captions:
            self._towers.encode_captions(ids, mask)
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return []


def scored(
    pairs: Sequence[Pair], loader: Loader, scorer: Scorer, *, batch_size: int
) -> Sequence[float]:
    """Similarities in order, by the product's own loop; every pair has to have one."""
    book = InMemoryRunStore(lambda: NOON)
    source = MemorySource("album", book, {each.key: (each, NOON) for each in _records(pairs)})
    plan = plan_run(_request(scorer.fingerprint, batch_size), source=source, runs=book)
    run, claim = book.claim(plan.shards[0].shard_id, device=scorer.device)
    score_shard(run, claim, worker=Worker(source, loader, scorer, sink=book))
    kept = {key: each.outcome for (_, _, key), each in book.outcomes.items()}
    return [_similarity(kept[at]) for at in range(len(pairs))]


def _request(fingerprint: Fingerprint, batch_size: int) -> RunRequest:
    window = Window.of_day(DAY, WindowKind.DAY)
    return RunRequest(
        "measured", "album", fingerprint, window, Trigger.CLI,
        batch_size=batch_size, shard_size=10_000_000,
    )  # fmt: skip


def _records(pairs: Sequence[Pair]) -> list[Record]:
    return [Record(at, each.path, each.caption) for at, each in enumerate(pairs)]


def _towers(weights: Weights, entry: Entry) -> Towers:
    if Dtype(entry.dtype) is not Dtype.INT8:
        model = load_model(weights, dtype=getattr(torch, entry.dtype), device=entry.device)
        return TorchTowers(model)
    model = load_model(weights, dtype=torch.float32, device="cpu")
    cache, name = Path(entry.weights).parent / "int8", weights.weights_sha256
    return open_int8(model, cache=cache, name=name)


def _cut(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _decoded(image: DecodedImage | Rejection) -> DecodedImage:
    if isinstance(image, Rejection):
        raise RuntimeError(f"an image of the album was rejected: {image}")
    return image


def _similarity(outcome: object) -> float:
    if not isinstance(outcome, Score):
        raise RuntimeError(f"a pair of the album was rejected: {outcome}")
    return outcome.similarity
