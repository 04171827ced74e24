"""Pairs from anywhere: the engine of the nightly runs as one object to keep and to call."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Fingerprint
from clip_scoring.images.fetcher import parse_image_uri
from clip_scoring.images.http.networks import parse_networks
from clip_scoring.images.loader import ImageLoader
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.weights import Weights
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Outcome, Record, Rejection
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.registrations import ANY_BUCKET, SourceRegistration
from clip_scoring.settings.scorer_options import ScorerChoices, ScorerOptions
from clip_scoring.stages import Read, ScoredBatch, load_ahead, score_ahead
from clip_scoring.wiring import (
    cores_here,
    device_of,
    find_weights,
    open_loader,
    open_scorer,
    usual_dtype_of,
)

if TYPE_CHECKING:
    from clip_scoring.models.clip import ClipScorer
    from clip_scoring.models.zero_shot import ZeroShot


_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_USUAL = ("https://", "http://", "s3://", "/")


class Scorer:
    """CLIP with fixed weights on a fixed device, for as many pairs and calls as there are.

    Weights are found and hashed at once; what computes is opened when it is first needed, and
    shown to compute what the weights stand for. Close it, or use it in a `with`: it has decoder
    processes and a thread of its own. Calls from several threads have to take turns.
    """

    def __init__(self, **choices: Unpack[ScorerChoices]) -> None:
        """Raises SettingsInvalid, WeightsInvalid or WeightsUnreachable."""
        self.options = ScorerOptions.of(choices)
        self._closed = False
        self._settings = _settings(self.options)
        _require_networks(self.options.allow_networks)
        self._weights: Weights = find_weights(self._settings, None)
        device_of(self._settings)
        dtype = self.options.dtype or usual_dtype_of(self._settings)
        self.fingerprint: Fingerprint = self._weights.fingerprint(
            tier=self.options.tier, dtype=dtype
        )
        """What every similarity of this scorer came from."""

    @property
    def device(self) -> str:
        """What it computes on: `cpu`, or the name of the GPU."""
        return self._towers.device

    def score_pairs(self, records: Iterable[Record]) -> Generator[Outcome]:
        """One outcome for each record, in order, while the next ones are being loaded.

        The records are taken from the iterable in this thread, some batches ahead of the outcomes;
        any number of them needs no more memory than a few batches.
        """
        for batch in self.score_batches(_batches(records, self.options.batch_size)):
            yield from batch.outcomes

    def score_batches(self, reads: Iterator[Read]) -> Iterator[ScoredBatch]:
        """Batches as they come; whoever takes one commits it before asking for the next."""
        placed = (replace(read, records=self._resolve_all(read.records)) for read in reads)
        batches = load_ahead(placed, loader=self._loader, batch_size=self.options.batch_size)
        return score_ahead(batches, scorer=self._towers)

    def load(self, records: Sequence[Record]) -> Sequence[DecodedImage | Rejection]:
        """The images as the image tower sees them, or why not, in order."""
        return self._loader.load(self._resolve_all(records)).images

    def similarities(
        self, images: Sequence[DecodedImage], captions: Sequence[str]
    ) -> NDArray[np.float32]:
        """Of each image with each caption: shape (images, captions), raw cosines in float32."""
        return self._towers.similarities(images, captions)

    def probabilities(
        self, images: Sequence[DecodedImage], prompts: Sequence[Sequence[str]]
    ) -> NDArray[np.float32]:
        """Zero-shot probabilities of labels, each with its prompts: shape (images, labels)."""
        return self._zero_shot.probabilities(images, prompts)

    def close(self) -> None:
        """End its processes and its thread; a call that is under way, or comes later, fails."""
        self._closed = True
        if "_loader" in self.__dict__:
            self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _zero_shot(self) -> ZeroShot:
        from clip_scoring.models.zero_shot import ZeroShot  # noqa: PLC0415  # torch takes seconds

        return ZeroShot(self._towers)

    @cached_property
    def _loader(self) -> ImageLoader:
        if self._closed:
            raise RuntimeError("the scorer is closed: open another one")
        return open_loader(
            self._settings,
            _registration(self.options),
            self._weights,
            tier=self.fingerprint.tier,
            decoders=cores_here(),
        )

    @cached_property
    def _towers(self) -> ClipScorer:
        return open_scorer(
            self._settings,
            self._weights,
            self.fingerprint,
            loader=self._loader,
            threads=None,
        )

    def _resolve_all(self, records: Sequence[Record]) -> Sequence[Record]:
        """Without an image root a relative path begins at the current folder, as everywhere."""
        if self.options.image_root is not None:
            return records
        here = str(Path.cwd())
        return [
            record
            if record.image is not None
            else replace(record, image_uri=resolve_uri(record.image_uri, here))
            for record in records
        ]


def score_pairs(records: Iterable[Record], **choices: Unpack[ScorerChoices]) -> Generator[Outcome]:
    """One outcome for each record, in order; opens a `Scorer` for this call and closes it.

    An outcome is a `Score` with `similarity`, the raw cosine in [-1, 1], or a `Rejection` with the
    reason: a pair that cannot be scored is data, not an exception. Raises as `Scorer` does, at
    once.
    """
    return _scored_by(Scorer(**choices), records)


def _scored_by(scorer: Scorer, records: Iterable[Record]) -> Generator[Outcome]:
    with scorer:
        yield from scorer.score_pairs(records)


def _settings(options: ScorerOptions) -> Settings:
    """The environment's, with what was chosen in its place."""
    settings = Settings.from_environment()
    compute = replace(settings.compute, device=options.device, threads=options.threads)
    if options.device == "auto":
        compute = replace(compute, device=settings.compute.device)
    weights = options.weights or settings.weights
    if options.revision is not None and "@" not in weights:
        weights = f"{weights}@{options.revision}"
    elif _HUB_NAME.fullmatch(weights) and not Path(weights).expanduser().is_dir():
        raise SettingsInvalid(
            f"weights {weights}: no such folder. From the hub they need a pinned revision: "
            "--revision and the 40 hex digits of a commit"
        )
    return replace(settings, compute=compute, weights=weights)


def _require_networks(networks: Sequence[str]) -> None:
    try:
        parse_networks(networks)
    except ValueError as wrong:
        raise SettingsInvalid(f"option allow_networks: {wrong}") from wrong


def _registration(options: ScorerOptions) -> SourceRegistration:
    return SourceRegistration(
        "pairs",
        image_roots=(options.image_root or Path("/"),),
        allowed_networks=options.allow_networks,
        allowed_ports=(80, 443, *options.allow_ports),
        allowed_hosts=options.allow_hosts,
        egress_proxy=options.egress_proxy,
        image_buckets=(ANY_BUCKET,),
    )


def resolve_uri(uri: str, folder: str) -> str:
    """A relative path from the folder on; any other address as it is, valid or not."""
    if uri.startswith(_USUAL):
        return uri
    try:
        scheme, path = parse_image_uri(uri)
    except ImageRejected:
        return uri
    return uri if scheme or path.startswith("/") else f"{folder}/{path}"


def _batches(records: Iterable[Record], size: int) -> Iterator[Read]:
    """Consecutive records, so many at a time; what they are called is up to the caller."""
    source = iter(records)
    while batch := list(islice(source, size)):
        yield Read(batch, batch[-1].key, StageMetrics())
