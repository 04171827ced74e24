"""One pair's similarity depends on the pair alone, and memory faults cost what they must."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from clip_scoring.errors import DeviceLost
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.models import clip
from clip_scoring.models.clip import ClipScorer, open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.towers import TorchTowers, load_model
from clip_scoring.models.weights import open_weights
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Outcome, Reason, Rejection, Score

TINY = open_weights("tiny")
EXACT = TINY.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
WORDS = ("a", "red", "circle", "left", "of", "two", "large", "blue", "squares", "on", "one", "wall")


class FaultyTowers(TorchTowers):
    """Towers whose memory or arithmetic fails when told to."""

    def __init__(self, *, fits: int = 10**9, nan_rows: frozenset[int] = frozenset()) -> None:
        super().__init__(load_model(TINY, dtype=torch.float32, device="cpu"))
        self.fits, self.nan_rows = fits, nan_rows
        self.failure: Exception | None = None
        self.rows_seen: list[int] = []

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        self.rows_seen.append(len(pixels))
        if self.failure:
            raise self.failure
        if len(pixels) > self.fits:
            raise torch.OutOfMemoryError(f"{len(pixels)} rows")
        embeddings = super().encode_images(pixels)
        for row in self.nan_rows:
            embeddings[row] = torch.nan
        return embeddings


def picture(seed: int) -> DecodedImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return DecodedImage(pixels, seed.to_bytes(4))


def caption(seed: int) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, rng.integers(1, 60)))


IMAGES = [picture(seed) for seed in range(24)]
CAPTIONS = [caption(seed) for seed in range(24)]


def scorer(towers: TorchTowers | None = None) -> ClipScorer:
    if towers is None:
        return open_clip(TINY, EXACT, ComputeOptions())
    return ClipScorer(TINY, EXACT, towers, ComputeOptions(threads=1))


def values(outcomes: list[Outcome]) -> list[float]:
    return [each.similarity for each in outcomes if isinstance(each, Score)]


@pytest.fixture(scope="module")
def expected() -> list[float]:
    found = values(scorer().score(IMAGES, CAPTIONS))
    assert len(set(found)) == 24
    return found


def test_the_neighbours_in_a_batch_change_no_byte(expected: list[float]) -> None:
    order = np.random.default_rng(5).permutation(24)
    fresh = scorer()
    found = values(fresh.score([IMAGES[at] for at in order], [CAPTIONS[at] for at in order]))
    assert found == [expected[at] for at in order]
    for at in (0, 7, 23):
        assert values(scorer().score([IMAGES[at]], [CAPTIONS[at]])) == [expected[at]]


def test_rejected_places_change_no_byte(expected: list[float]) -> None:
    images = [None if at % 3 == 1 else each for at, each in enumerate(IMAGES)]
    captions = [None if at % 3 == 1 else each for at, each in enumerate(CAPTIONS)]
    found = scorer().score(images, captions)
    assert [found[at] for at in range(24) if at % 3 != 1] == [
        Score(expected[at], found[at].caption_truncated)
        for at in range(24) if at % 3 != 1
    ]  # fmt: skip


def test_what_was_encoded_before_gives_the_same_bytes(expected: list[float]) -> None:
    twice = scorer()
    first = twice.score(IMAGES[:12] * 2, CAPTIONS[:12] * 2)
    assert values(first) == expected[:12] * 2
    assert values(twice.score(IMAGES, CAPTIONS)) == expected
    counts = twice.drain_metrics().counts
    assert (counts["images_encoded"], counts["images_repeated"]) == (24, 24)
    assert (counts["captions_encoded"], counts["captions_repeated"]) == (24, 24)


def test_the_number_of_threads_changes_no_byte(expected: list[float]) -> None:
    for threads in (1, 2, 3):
        of_threads = open_clip(TINY, EXACT, ComputeOptions(threads=threads))
        assert values(of_threads.score(IMAGES, CAPTIONS)) == expected


def test_less_memory_makes_smaller_calls_and_all_but_equal_similarities(
    expected: list[float],
) -> None:
    towers = FaultyTowers(fits=3)
    short = scorer(towers)
    found = short.score(IMAGES, CAPTIONS)
    np.testing.assert_allclose(values(found), expected, rtol=0, atol=1e-6)
    assert [rows for rows in towers.rows_seen if rows <= 3] == [2] * 12
    assert short.drain_metrics().counts["oom_backoffs"] == 2


def test_a_pair_that_does_not_fit_alone_is_rejected() -> None:
    found = scorer(FaultyTowers(fits=0)).score(IMAGES[:2], CAPTIONS[:2])
    assert [each.reason for each in found if isinstance(each, Rejection)] == [
        Reason.OUT_OF_MEMORY
    ] * 2


def test_rows_that_are_not_finite_are_redone_alone_in_float32(expected: list[float]) -> None:
    doubtful = scorer(FaultyTowers(nan_rows=frozenset({1, 5})))
    found = doubtful.score(IMAGES[:8], CAPTIONS[:8])
    np.testing.assert_allclose(values(found), expected[:8], rtol=0, atol=1e-6)
    assert doubtful.drain_metrics().counts["float32_redone"] == 2
    assert doubtful.drain_metrics().counts["float32_redone"] == 0


def test_a_pair_without_direction_in_float32_too_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hopeless = scorer(FaultyTowers(nan_rows=frozenset({0})))
    monkeypatch.setattr(
        TorchTowers, "encode_captions", lambda self, ids, mask: torch.zeros(len(ids), 128)
    )
    (found,) = hopeless.score(IMAGES[:1], CAPTIONS[:1])
    assert found == Rejection(Reason.NON_FINITE, "in float32 as well")


def test_a_pair_whose_second_try_in_float32_does_not_fit_is_rejected_for_want_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(self: TorchTowers, pixels: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    doubtful = scorer(FaultyTowers(nan_rows=frozenset({0})))
    doubtful.score(IMAGES[1:2], CAPTIONS[:1])
    monkeypatch.setattr(
        clip, "TorchTowers", type("Full", (TorchTowers,), {"encode_images": no_memory})
    )
    (found,) = doubtful.score(IMAGES[:1], CAPTIONS[:1])
    assert found == Rejection(Reason.OUT_OF_MEMORY, "not even alone, in float32")


def test_a_dead_device_ends_the_work_instead_of_shrinking_the_batch() -> None:
    towers = FaultyTowers()
    towers.failure = torch.AcceleratorError("CUDA error: an illegal memory access\nmore lines")
    with pytest.raises(DeviceLost, match=r"^cpu: CUDA error: an illegal memory access$"):
        scorer(towers).score(IMAGES, CAPTIONS)
    assert towers.rows_seen == [towers.image_device_batch_size]


def test_compiling_reaches_both_towers(
    expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def compile_in_name_only(encode: Callable[..., object]) -> Callable[..., object]:
        compiled.append(str(encode))
        return encode

    monkeypatch.setattr(torch, "compile", compile_in_name_only)
    found = open_clip(TINY, EXACT, ComputeOptions(compiled=True)).score(IMAGES, CAPTIONS)
    assert (values(found), len(compiled)) == (expected, 2)
