"""Zero-shot probabilities are those of the papers, computed by plain transformers."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit, softmax
from sentencepiece import SentencePieceTrainer
from transformers import (
    CLIPModel,
    CLIPProcessor,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.images.decode import decode
from clip_scoring.models.clip import ClipScorer, open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.models.zero_shot import ZeroShot
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Score

LABELS = ["circle", "blue square", "star", "heart above a ring", "arrow"]
TEMPLATES = ["a photo of a {}", "a small {} on a white background, drawn"]
TOLERANCE = 1e-6
Floats = NDArray[np.float64]


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(17)
    small = rng.integers(0, 256, (count, 5, 7, 3), dtype=np.uint8)
    sides = rng.integers(40, 200, (count, 2))
    return [
        Image.fromarray(each).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        for each, (width, height) in zip(small, sides, strict=True)
    ]


PICTURES = pictures(12)


def images(weights: Weights) -> list[DecodedImage]:
    found = []
    for each in PICTURES:
        stream = io.BytesIO()
        each.save(stream, "PNG")
        found.append(DecodedImage(decode(stream.getvalue(), weights.geometry), stream.getvalue()))
    return found


def scorer_of(weights: Weights) -> ClipScorer:
    exact = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    return open_clip(weights, exact, ComputeOptions())


def units(embeddings: torch.Tensor) -> Floats:
    """Each row with length 1."""
    found: Floats = embeddings.numpy().astype(np.float64)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def tiny() -> Weights:
    return open_weights("tiny")


@pytest.fixture(scope="module")
def scorer(tiny: Weights) -> ClipScorer:
    return scorer_of(tiny)


@pytest.fixture(scope="module")
def model(tiny: Weights) -> CLIPModel:
    return CLIPModel.from_pretrained(tiny.folder).eval()


@torch.inference_mode()
def seen_and_read(
    tiny: Weights, model: CLIPModel, captions: Sequence[str]
) -> tuple[Floats, Floats]:
    """Directions of the pictures and of the captions by transformers alone."""
    given = CLIPProcessor.from_pretrained(tiny.folder)(
        text=list(captions), images=PICTURES, return_tensors="pt", padding="max_length",
        truncation=True, max_length=77,
    )  # fmt: skip
    output = model(**given)
    return units(output.image_embeds), units(output.text_embeds)


def test_probabilities_are_a_softmax_of_the_scaled_cosines(
    tiny: Weights, model: CLIPModel, scorer: ClipScorer
) -> None:
    seen, read = seen_and_read(tiny, model, LABELS)
    scale = model.logit_scale.exp().item()
    found = ZeroShot(scorer).probabilities(images(tiny), [[each] for each in LABELS])
    assert found.shape == (len(PICTURES), len(LABELS))
    # A cosine may be off by the tolerance, and a logit by so many times that.
    np.testing.assert_allclose(
        found, softmax(scale * seen @ read.T, axis=1), rtol=0, atol=scale * 1e-6
    )
    assert np.ptp(found, axis=0).max() > 0.5  # the pictures differ, so being near means something


def test_probabilities_of_a_picture_have_the_sum_1(tiny: Weights, scorer: ClipScorer) -> None:
    found = ZeroShot(scorer).probabilities(images(tiny), [[each] for each in LABELS])
    np.testing.assert_allclose(found.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=TOLERANCE)
    assert found.dtype == np.float32


def test_several_prompts_count_as_the_direction_of_their_mean_direction(
    tiny: Weights, model: CLIPModel, scorer: ClipScorer
) -> None:
    prompts = [[template.format(label) for template in TEMPLATES] for label in LABELS]
    seen, read = seen_and_read(tiny, model, [each for label in prompts for each in label])
    means = read.reshape(len(LABELS), len(TEMPLATES), -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    scale = model.logit_scale.exp().item()
    found = ZeroShot(scorer).probabilities(images(tiny), prompts)
    np.testing.assert_allclose(
        found, softmax(scale * seen @ means.T, axis=1), rtol=0, atol=scale * 1e-6
    )
    alone = ZeroShot(scorer).probabilities(images(tiny), [each[:1] for each in prompts])
    assert np.abs(found - alone).max() > 0.01


def test_a_label_may_have_more_prompts_than_another(tiny: Weights, scorer: ClipScorer) -> None:
    once = ZeroShot(scorer).probabilities(images(tiny), [["circle"], ["star"]])
    twice = ZeroShot(scorer).probabilities(images(tiny), [["circle", "circle", "circle"], ["star"]])
    np.testing.assert_allclose(twice, once, rtol=0, atol=1e-4)


def test_similarities_of_all_with_all_are_those_of_each_pair(
    tiny: Weights, scorer: ClipScorer
) -> None:
    shown = images(tiny)
    found = scorer.similarities(shown, LABELS)
    assert found.shape == (len(shown), len(LABELS))
    for row, image in zip(found, shown, strict=True):
        outcomes = scorer.score([image] * len(LABELS), LABELS)
        pairs = [each.similarity for each in outcomes if isinstance(each, Score)]
        np.testing.assert_allclose(row, pairs, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Random weights of the other architecture, with the scale and the bias that it begins with."""
    folder = tmp_path_factory.mktemp("siglip")
    with (folder / "spiece.model").open("wb") as made:
        SentencePieceTrainer.train(
            sentence_iterator=iter([*LABELS, *TEMPLATES] * 20), model_writer=made, vocab_size=34,
            pad_id=-1, bos_id=-1, unk_id=2, eos_id=1, character_coverage=1.0, minloglevel=3,
        )  # fmt: skip
    layers = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
              "num_attention_heads": 3}  # fmt: skip
    text = {**layers, "vocab_size": 34, "max_position_embeddings": 64}
    vision = {**layers, "image_size": 64, "patch_size": 16}
    torch.manual_seed(4)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-1.5)
    model.save_pretrained(folder)
    SiglipTokenizer(str(folder / "spiece.model")).save_pretrained(folder)
    settings = {"image_processor_type": "SiglipImageProcessor", "resample": 2}
    size = {"size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | size))
    return open_weights(str(folder))


def siglip_logits(folder: Path) -> Floats:
    model = SiglipModel.from_pretrained(folder).eval()
    pixels = SiglipImageProcessorPil.from_pretrained(folder)(images=PICTURES, return_tensors="pt")
    text = SiglipTokenizer.from_pretrained(folder)(
        LABELS, return_tensors="pt", padding="max_length", truncation=True, max_length=64
    )
    with torch.inference_mode():
        return np.asarray(model(**pixels, **text).logits_per_image.numpy(), np.float64)


def test_probabilities_of_siglip_are_sigmoids_of_each_pair_alone(siglip: Weights) -> None:
    scorer = scorer_of(siglip)
    found = ZeroShot(scorer).probabilities(images(siglip), [[each] for each in LABELS])
    wanted = expit(siglip_logits(siglip.folder))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert np.abs(found.sum(axis=1) - 1).min() > 0.05
    fewer = ZeroShot(scorer).probabilities(images(siglip), [[each] for each in LABELS[:2]])
    np.testing.assert_allclose(fewer, found[:, :2], rtol=0, atol=1e-6)
