"""The command line with a scorer that needs no model, and with orders to die at named points."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_scoring.cli import main
from clip_scoring.files import score as files
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.fake import FAKE_FINGERPRINT, FakeScorer
from clip_scoring.ports import DecodedImage, LoadedImages
from clip_scoring.records import Reason, Record, Rejection
from clip_scoring.settings.scorer_options import ScorerOptions
from clip_scoring.stages import Read, ScoredBatch, load_ahead, score_ahead

REPOSITORY = Path(__file__).parents[2]
DIE_AT = "CLIP_TEST_DIE_AT"
"""`point times [signal]`: what the process sends to itself, SIGKILL or that signal, when it comes
there for that time."""


class PathLoader:
    """Pixels made from the address; a path that ends in a reason is rejected with it."""

    def load(self, records: Sequence[Record]) -> LoadedImages:
        return LoadedImages([_image(each) for each in records], StageMetrics())


def _image(record: Record) -> DecodedImage | Rejection:
    name = record.image_uri.rpartition("/")[2]
    if name in set(Reason):
        return Rejection(Reason(name), "as asked")
    body = record.image_uri.encode(errors="surrogatepass")
    return DecodedImage(np.frombuffer(body, np.uint8), body)


class PretendScorer:
    """`Scorer` with similarities by hash: the same face, nothing to load."""

    fingerprint = FAKE_FINGERPRINT
    device = "none"

    def __init__(self, **choices: Any) -> None:
        self.options = ScorerOptions.of(choices)

    def score_batches(self, reads: Iterator[Read]) -> Iterator[ScoredBatch]:
        batches = load_ahead(reads, loader=PathLoader(), batch_size=self.options.batch_size)
        return score_ahead(batches, scorer=FakeScorer())

    def load(self, records: Sequence[Record]) -> Sequence[DecodedImage | Rejection]:
        return [_image(each) for each in records]

    def close(self) -> None:
        pass


def dying(owner: object, name: str, point: str, *, after: bool = False) -> None:
    """Let the process kill or stop itself at a call of `owner.name`, as the environment orders."""
    ordered, times, number = [*os.environ.get(DIE_AT, "").split(), "", "", ""][:3]
    if ordered != point:
        return
    real: Callable[..., Any] = getattr(owner, name)
    left = int(times)

    def called(*args: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        due = left == 0
        if due and not after:
            os.kill(os.getpid(), signal.Signals[number or "SIGKILL"])
        result = real(*args, **more)
        if due and after:
            os.kill(os.getpid(), signal.Signals[number or "SIGKILL"])
        return result

    setattr(owner, name, called)


def run(arguments: Sequence[str] | None = None) -> int:
    """The command line without a model, in this process, which ends with it."""
    files.Scorer = PretendScorer  # type: ignore[misc,assignment]
    dying(files.Journal, "append", "write")
    dying(files.Journal, "append", "written", after=True)
    dying(os, "fsync", "fsync")
    dying(os, "fsync", "synced", after=True)
    dying(os, "replace", "rename")
    dying(os, "replace", "renamed", after=True)
    dying(files.Journal, "discard", "discard")
    dying(files.Journal, "note_output", "noted", after=True)
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run())
