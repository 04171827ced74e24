"""The promises that the parts make to each other; every adapter passes one contract suite.

`wiring.py` puts adapters together: of `sources/`, `images/`, `models/` and `database/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clip_scoring.fingerprint import Fingerprint
from clip_scoring.metrics import StageMetrics
from clip_scoring.quality import Histogram, Ranked
from clip_scoring.records import Key, Outcome, Record, Rejection
from clip_scoring.run_metrics import RunMetrics
from clip_scoring.runs import (
    Run,
    RunRequest,
    RunSummary,
    Selection,
    ShardCounts,
    ShardPlan,
    Window,
)
from clip_scoring.shards import Claim, KeyRange, PlannedRange

Pixels: TypeAlias = NDArray[np.uint8]
"""One decoded image at the size of the tower, shape (height, width, 3), uint8 RGB."""


class Source(Protocol):
    """A registered place that pending records come from."""

    name: str

    def refresh(self, window: Window) -> None:
        """Note what has come, gone or changed since; called before planning, in no transaction.

        Files get their keys here. Raises ObjectUnreadable for a file that cannot be parsed.
        """

    def count_pending(self, selection: Selection) -> int:
        """How many records of the selection are pending."""

    def ranges(self, selection: Selection, size: int, limit: int | None) -> Iterator[PlannedRange]:
        """Cut the pending records, in key order, into consecutive ranges of `size`.

        Each range stops where the next begins; at most `limit` records are covered.
        """

    def read_pending(self, selection: Selection, limit: int) -> list[Record]:
        """The first `limit` pending records of the selection in key order."""

    def find(self, record_keys: Sequence[str], *, longest: int) -> Mapping[str, Record]:
        """The records of these names as they are now, without those that are gone.

        Addresses and captions are cut after `longest` characters: this is for people to look at.
        Raises ObjectUnreadable where a file is not what it was.
        """

    def drain_metrics(self) -> StageMetrics:
        """Counts of `bytes` and `read_retries` since the last call."""


class ImageDecoders(Protocol):
    """Decodes many images at once, in one event loop."""

    count: int
    """How many may be busy."""
    on_change: Callable[[], None]
    """Called after `busy` has changed."""

    @property
    def busy(self) -> int:
        """How many decode at this moment."""

    async def decode(self, body: bytes) -> Pixels:
        """The pixels of one image; a bad one raises what the loader makes a Rejection of."""

    def drain_metrics(self) -> StageMetrics:
        """Counts since the last call."""

    async def close(self) -> None:
        """End processes and threads; nothing may be decoding any more."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """Pixels of one image; equal digests of two images mean equal encoded bytes and pixels."""

    pixels: Pixels
    digest: bytes


@dataclass(frozen=True, slots=True)
class LoadedImages:
    """Images of one batch, in order, and the metrics of the stage since the last call.

    Each second of the stage counts as `decode` by the share of busy decoders, and the rest of it
    as `fetch` while something is being fetched.
    """

    images: Sequence[DecodedImage | Rejection]
    measures: StageMetrics


class Loader(Protocol):
    """Fetches and decodes images, for several batches at once when it is called from threads."""

    def load(self, records: Sequence[Record]) -> LoadedImages:
        """One entry per record, in order. A bad image is a Rejection, never an exception."""


class Scorer(Protocol):
    """CLIP with fixed weights on a fixed device."""

    fingerprint: Fingerprint
    device: str
    """The device's name for people: `cpu`, or that of the GPU."""

    def drain_metrics(self) -> StageMetrics:
        """Counts since the last call: pairs encoded and repeated, back-offs."""

    def score(
        self, images: Sequence[DecodedImage | None], captions: Sequence[str | None]
    ) -> list[Outcome]:
        """Similarity of `images[i]` and `captions[i]`, one outcome for each i.

        None stands for a rejected pair, whose outcome means nothing. A similarity depends
        on its own pair only: its bytes are the same whatever else is in the call.

        Raises DeviceLost when the device has to be given up.
        """


class Encoder(Protocol):
    """The two towers of CLIP apart: directions whose dot product is the similarity.

    Rows are float32 of length 1, shape (N, D), and depend on their own image or caption only: to
    the bit, whatever else is asked for. A row of NaN stands for what has no direction, or does
    not fit into memory even alone. Raises DeviceLost when the device has to be given up.
    """

    fingerprint: Fingerprint

    def embed_images(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """One row for each image, in order; (0, D) for none."""

    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """One row for each caption, in order; (0, D) for none."""


class Sink(Protocol):
    """Stores outcomes and checkpoint together."""

    def claim(self, shard_id: int, *, device: str) -> tuple[Run, Claim]:
        """Take the shard with a new epoch; every older claim on it is void from here on."""

    def claim_free(self, run: Run, *, device: str) -> Claim | None:
        """Take an unfinished shard of the run that nobody works on, if there is one."""

    def renew(self, claim: Claim) -> None:
        """Keep others from taking the shard; without effect when the claim is void."""

    def release(self, claim: Claim) -> None:
        """Let others take the shard at once; without effect when the claim is void."""

    def commit(
        self,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        measures: StageMetrics,
    ) -> Claim:
        """Store outcomes and move the checkpoint to `offset`, both or neither.

        Raises ShardLost, having written nothing, when the claim is void.
        """


class Planning(Protocol):
    """One open planning transaction for a (source, fingerprint)."""

    def find(self, run_key: str) -> Run | None:
        """The run of that key, if it has been planned."""

    def open_run(self, request: RunRequest) -> Run:
        """Create the run; it becomes visible with its shards when the transaction ends."""

    def release_abandoned(self, run: Run) -> None:
        """Void every claim on runs of the same scope whose leases have all run out."""

    def reserved_ranges(self, run: Run) -> list[KeyRange]:
        """Key ranges of open shards of other live runs whose windows overlap with the run's."""

    def add_shards(self, run: Run, ranges: Sequence[PlannedRange], reserved: int) -> None:
        """Number and store the run's shards and its planned and reserved counts."""

    def shards(self, run: Run) -> list[ShardPlan]:
        """The run's shards by number."""


class Runs(Protocol):
    """The run store: plans, recounts and closes runs."""

    def planning(self, source: str, fingerprint: Fingerprint) -> AbstractContextManager[Planning]:
        """One transaction; two of them for the same source and fingerprint never overlap."""

    def selection_of(self, request: RunRequest) -> Selection:
        """The selection that the request would get if it were planned now; writes nothing."""

    def get(self, run_key: str) -> Run:
        """The planned run of that key; raises RunNotFound."""

    def recount(self, run: Run) -> list[tuple[KeyRange, ShardCounts]]:
        """Each shard's range and its outcomes counted from rows; `pending` is left at 0."""

    def superseding(self, run: Run) -> int:
        """Outcomes that other runs of the same scope have written since the run was planned."""

    def histogram(self, run: Run) -> Histogram:
        """The run's similarities, counted from rows."""

    def past_histograms(self, run: Run, most: int) -> list[Histogram]:
        """Those of the last runs before it of its scope that succeeded, newest first."""

    def extremes(self, run: Run, most: int) -> tuple[Ranked, Ranked]:
        """The run's lowest similarities, lowest first, and its highest, highest first."""

    def rejections(self, run: Run) -> Mapping[str, int]:
        """The run's rejections by reason, counted from rows."""

    def close(self, run: Run, summary: RunSummary, metrics: RunMetrics) -> None:
        """Write the run's figures and its final state: failed when the summary has failures."""
