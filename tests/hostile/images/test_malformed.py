"""500 malformed images in each tier: none kills a decoder, hangs, or touches its neighbours."""

from __future__ import annotations

import io
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from clip_scoring.fingerprint import Tier
from clip_scoring.images.decode import FORMATS, decode
from tests.hostile.images.malformed import MUTATIONS, malformed
from tests.hostile.images.seeds import seeds
from tests.hostile.images.trial import GEOMETRY, TIERS, try_malformed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
SEED = 20260103
COUNT = 500


@pytest.mark.parametrize("tier", TIERS)
def test_each_of_500_malformed_images_is_pixels_or_one_refusal_and_nothing_else_happens(
    tier: Tier,
) -> None:
    report = try_malformed(tier, count=COUNT, seed=SEED)
    assert not report.red, report.as_json()
    assert report.outcomes.total() == COUNT
    assert report.neighbours == COUNT // 10
    assert report.outcomes["image_decoder_crashed"] == 0
    assert report.decoders["decoder_starts"] == 2
    assert report.worker_growth_mb < 64, "more than two bodies of 20 MiB in shared memory"
    assert report.decoder_peak_mb < 2000


def test_the_generator_makes_what_it_claims() -> None:
    made = list(islice(malformed(SEED), 2000))
    assert {each.mutation for each in made} == set(MUTATIONS)
    assert {each.seed for each in made} == set(seeds())
    assert made == list(islice(malformed(SEED), 2000))
    assert made != list(islice(malformed(SEED + 1), 2000))


@pytest.mark.parametrize("name", seeds())
def test_every_seed_is_a_good_image(name: str) -> None:
    pixels = decode(seeds()[name], GEOMETRY)
    assert np.ptp(pixels) > 100


def test_the_seeds_cover_every_format_and_mode() -> None:
    assert len(seeds()) >= 20
    assert {name.split()[0] for name in seeds()} == set(FORMATS)
    assert {"RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F"} <= {
        _mode(body) for body in seeds().values()
    }


def _mode(body: bytes) -> str:
    return Image.open(io.BytesIO(body)).mode
