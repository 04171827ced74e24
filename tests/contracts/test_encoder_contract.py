"""Encoders give directions that depend on their own content alone."""

from __future__ import annotations

import numpy as np
import pytest

from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.models.clip import open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.cosines import cosines
from clip_scoring.models.fake import FakeEncoder
from clip_scoring.models.weights import open_weights
from clip_scoring.ports import DecodedImage, Encoder
from clip_scoring.records import Score

CAPTIONS = [f"{number} red circles " * (number + 1) for number in range(11)]


@pytest.fixture(scope="module", params=["fake", "clip"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    if request.param == "fake":
        return FakeEncoder()
    weights = open_weights("tiny")
    fingerprint = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    return open_clip(weights, fingerprint, ComputeOptions())


@pytest.fixture(scope="module")
def images() -> list[DecodedImage]:
    shape = open_weights("tiny").geometry.shape
    random = np.random.default_rng(1)
    pixels = [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(11)]
    return [DecodedImage(each, each.tobytes()[:16]) for each in pixels]


def test_rows_are_float32_of_length_one_and_of_one_width(
    encoder: Encoder, images: list[DecodedImage]
) -> None:
    of_images, of_captions = encoder.embed_images(images), encoder.embed_captions(CAPTIONS)
    assert of_images.shape == (11, of_captions.shape[1])
    assert (of_images.dtype, of_captions.dtype) == (np.float32, np.float32)
    for rows in (of_images, of_captions):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


def test_nothing_asked_is_an_empty_array_of_the_same_width(
    encoder: Encoder, images: list[DecodedImage]
) -> None:
    width = encoder.embed_images(images[:1]).shape[1]
    assert encoder.embed_images([]).shape == (0, width)
    assert encoder.embed_captions([]).shape == (0, width)


def test_a_row_does_not_depend_on_its_neighbours_or_their_order(
    encoder: Encoder, images: list[DecodedImage]
) -> None:
    together, texts = encoder.embed_images(images), encoder.embed_captions(CAPTIONS)
    for at, image in enumerate(images):
        assert encoder.embed_images([image])[0].tobytes() == together[at].tobytes()
        assert encoder.embed_captions([CAPTIONS[at]])[0].tobytes() == texts[at].tobytes()
    assert encoder.embed_images(images[::-1])[::-1].tobytes() == together.tobytes()
    assert encoder.embed_captions(CAPTIONS[::-1])[::-1].tobytes() == texts.tobytes()


def test_equal_contents_have_equal_rows_and_others_have_others(
    encoder: Encoder, images: list[DecodedImage]
) -> None:
    rows = encoder.embed_captions(["a", "b", "a"])
    assert rows[0].tobytes() == rows[2].tobytes() != rows[1].tobytes()
    shown = encoder.embed_images([images[0], images[1], images[0]])
    assert shown[0].tobytes() == shown[2].tobytes() != shown[1].tobytes()


def test_the_dot_product_of_the_rows_is_the_similarity_that_the_scorer_gives(
    images: list[DecodedImage],
) -> None:
    weights = open_weights("tiny")
    fingerprint = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    scorer = open_clip(weights, fingerprint, ComputeOptions())
    matrix = cosines(scorer.embed_images(images), scorer.embed_captions(CAPTIONS))
    outcomes = scorer.score(images, CAPTIONS)
    scored = [each.similarity for each in outcomes if isinstance(each, Score)]
    assert scored == [float(similarity) for similarity in np.diag(matrix)]
