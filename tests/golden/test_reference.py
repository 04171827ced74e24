"""What the product promises of float32, on hundreds of images of all sizes and modes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from benchmarks.random_weights import write_weights
from benchmarks.specimens import Specimen, by_product, by_transformers, specimens
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.models.clip import open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.weights import Weights, open_weights

COUNTS = {
    "640×480": 122, "1024×768": 12, "2048×1536": 3, "200×300": 90, "odd sizes": 15,
    "mixed modes": 63,
}  # fmt: skip
EXACT = 1e-6
FAST = 2e-4


@pytest.fixture(scope="module")
def given() -> list[Specimen]:
    return specimens(COUNTS)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    """ViT-B/32 with random weights."""
    folder = write_weights(tmp_path_factory.mktemp("weights"))
    yield open_weights(str(folder))
    (folder / "model.safetensors").unlink()  # pytest keeps folders, and this is 600 MB


def test_the_embedded_weights_give_what_transformers_gives_for_every_size_and_mode(
    given: list[Specimen],
) -> None:
    assert len(given) >= 300
    compare(open_weights("tiny"), given, tolerance_of_fast=FAST)


# Above 60 s where the machine is busy: three passes of about 100 pairs through ViT-B/32.
def test_weights_of_full_size_give_what_transformers_gives_for_every_size_and_mode(
    full_size: Weights, given: list[Specimen]
) -> None:
    # A pass over all of them takes minutes: every twelfth of a plain size, all that are hard.
    by_group = {name: [each for each in given if each.group == name] for name in COUNTS}
    hard = by_group.pop("odd sizes") + by_group.pop("mixed modes")
    plain = [each for group in by_group.values() for each in group[::12]]
    compare(full_size, hard + plain, tolerance_of_fast=FAST)


def compare(weights: Weights, given: Sequence[Specimen], *, tolerance_of_fast: float) -> None:
    expected = by_transformers(weights.folder, given)
    assert np.ptp(expected) > 0.05  # they tell pairs apart, so being near means something
    exact = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    scorer = open_clip(weights, exact, ComputeOptions())
    for tier, tolerance in ((Tier.EXACT, EXACT), (Tier.FAST, tolerance_of_fast)):
        scored = by_product(scorer, weights, tier, given)
        np.testing.assert_allclose(scored, expected, rtol=0, atol=tolerance)
