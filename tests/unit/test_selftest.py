"""A worker whose pixels or weights are not what they should be does not begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from clip_scoring.errors import DecoderBroken, DeviceLost, SelfTestFailed
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.images.decode import decode
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.clip import ClipScorer, open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.reference import reference_similarities
from clip_scoring.models.towers import TorchTowers, load_model
from clip_scoring.models.weights import open_weights
from clip_scoring.ports import DecodedImage, LoadedImages, Pixels
from clip_scoring.records import Reason, Record, Rejection
from clip_scoring.selftest import self_test, tolerance

TINY = open_weights("tiny")


class DecodingLoader:
    """Decodes in this process, then does something to the pixels."""

    def __init__(self, change: Callable[[Pixels], Pixels] = lambda pixels: pixels) -> None:
        self._change = change

    def load(self, records: Sequence[Record]) -> LoadedImages:
        images = [self._change(decode(each.image or b"", TINY.geometry)) for each in records]
        return LoadedImages([DecodedImage(each, each.tobytes()) for each in images], StageMetrics())


class BlindLoader(DecodingLoader):
    """Refuses everything with one reason."""

    def __init__(self, reason: Reason) -> None:
        self._reason = reason

    def load(self, records: Sequence[Record]) -> LoadedImages:
        return LoadedImages([Rejection(self._reason, "as asked")] * len(records), StageMetrics())


@pytest.fixture(scope="module")
def scorer() -> Iterator[ClipScorer]:
    yield open_clip(TINY, TINY.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32), ComputeOptions())


def reference(pairs: Sequence[tuple[bytes, str]]) -> list[float]:
    model = open_clip(
        TINY, TINY.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32), ComputeOptions()
    )
    return reference_similarities(TINY, model.float32_model, pairs)


def exact(body: bytes) -> Pixels:
    return decode(body, TINY.geometry)


def test_a_sound_worker_passes(scorer: ClipScorer) -> None:
    self_test(DecodingLoader(), scorer, reference, exact)


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels[:, :, ::-1],
        lambda pixels: pixels[::-1],
        lambda pixels: np.roll(pixels, 1, axis=1),
        lambda pixels: pixels // 2,
    ],
    ids=["BGR", "upside down", "one pixel off", "half as bright"],
)
def test_other_pixels_than_the_reference_makes_are_noticed(
    scorer: ClipScorer, change: Callable[[Pixels], Pixels]
) -> None:
    with pytest.raises(SelfTestFailed, match=r"pixels are off by \d+\.\d\d levels, allowed 0"):
        self_test(DecodingLoader(change), scorer, reference, exact)


def test_other_weights_are_noticed(scorer: ClipScorer) -> None:
    def of_other_weights(pairs: Sequence[tuple[bytes, str]]) -> list[float]:
        return [each + 1e-3 for each in reference(pairs)]

    with pytest.raises(
        SelfTestFailed, match=r"on cpu: similarities .* instead of .* allowed 1e-05"
    ):
        self_test(DecodingLoader(), scorer, of_other_weights, exact)


def test_a_device_that_computes_something_else_is_noticed() -> None:
    class Broken(TorchTowers):
        def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().encode_images(pixels.flip(-1))

    towers = Broken(load_model(TINY, dtype=torch.float32, device="cpu"))
    plain = TINY.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    with pytest.raises(SelfTestFailed, match="on cpu: similarities"):
        self_test(
            DecodingLoader(), ClipScorer(TINY, plain, towers, ComputeOptions()), reference, exact
        )


def test_pixels_of_tier_fast_may_differ_a_little_and_no_more() -> None:
    fast = open_clip(TINY, TINY.fingerprint(tier=Tier.FAST, dtype=Dtype.FLOAT32), ComputeOptions())
    self_test(DecodingLoader(lambda pixels: pixels ^ 1), fast, reference, exact)
    with pytest.raises(SelfTestFailed, match="pixels are off"):
        self_test(DecodingLoader(lambda pixels: pixels ^ 8), fast, reference, exact)


def test_similarities_that_are_not_finite_are_noticed(scorer: ClipScorer) -> None:
    with pytest.raises(SelfTestFailed):
        self_test(DecodingLoader(), scorer, lambda pairs: [float("nan")] * len(pairs), exact)


def test_an_image_that_is_not_decoded_is_noticed(scorer: ClipScorer) -> None:
    with pytest.raises(SelfTestFailed, match="not decoded"):
        self_test(BlindLoader(Reason.IMAGE_UNDECODABLE), scorer, reference, exact)
    with pytest.raises(DecoderBroken):  # which a retry may mend
        self_test(BlindLoader(Reason.IMAGE_DECODER_CRASHED), scorer, reference, exact)


def test_a_device_without_memory_for_one_pair_is_given_up(scorer: ClipScorer) -> None:
    class Full(TorchTowers):
        def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError

    towers = Full(load_model(TINY, dtype=torch.float32, device="cpu"))
    plain = TINY.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    with pytest.raises(DeviceLost, match="no memory for one pair"):
        self_test(
            DecodingLoader(), ClipScorer(TINY, plain, towers, ComputeOptions()), reference, exact
        )


def test_looser_formats_are_allowed_more() -> None:
    allowed = [tolerance(TINY.fingerprint(tier=Tier.EXACT, dtype=each)) for each in Dtype]
    assert allowed == sorted(allowed)
