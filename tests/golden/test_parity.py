"""The product's similarities are those of plain transformers with the same weights."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sentencepiece import SentencePieceTrainer
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from clip_scoring.errors import SettingsInvalid, WeightsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.images.decode import decode
from clip_scoring.models.clip import ClipScorer, open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Score

TOLERANCE = 1e-6
CAPTIONS = [
    "a red circle",
    "a photo of a large blue square left of a small green star on a yellow background",
    "one " * 200,
    "ünïcode ☃ 日本語 and UPPER case",
    "a",
    "two shapes: a heart above a ring",
]


def images(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(11)
    sizes = [tuple(rng.integers(20, 300, 2)) for _ in range(count)]
    small = [rng.integers(0, 256, (7, 9, 3), dtype=np.uint8) for _ in sizes]
    return [
        Image.fromarray(each).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        for each, (width, height) in zip(small, sizes, strict=True)
    ]


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def scorer(weights: Weights) -> ClipScorer:
    exact = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    return open_clip(weights, exact, ComputeOptions())


def reference(folder: Path, pictures: list[Image.Image], captions: list[str]) -> list[float]:
    """Cosines by transformers alone: its processor, padding to the context length."""
    model = CLIPModel.from_pretrained(folder).eval()
    processor = CLIPProcessor.from_pretrained(folder)
    inputs = processor(
        text=captions, images=pictures, return_tensors="pt",
        padding="max_length", truncation=True, max_length=77,
    )  # fmt: skip
    with torch.inference_mode():
        output = model(**inputs)
    return (output.image_embeds * output.text_embeds).sum(-1).tolist()


def decoded(image: Image.Image, weights: Weights) -> DecodedImage:
    body = png(image)
    return DecodedImage(decode(body, weights.geometry), body)


def similarities(weights: Weights, pictures: list[Image.Image], captions: list[str]) -> list[float]:
    pixels = [decoded(each, weights) for each in pictures]
    outcomes = scorer(weights).score(pixels, captions)
    return [each.similarity for each in outcomes if isinstance(each, Score)]


@pytest.fixture(scope="module")
def cropped_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with OpenAI's preprocessing: shorter edge, centre crop, other statistics."""
    tiny = open_weights("tiny").folder
    folder = tmp_path_factory.mktemp("cropped")
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
        if (tiny / name).exists():
            shutil.copy(tiny / name, folder)
    config = CLIPConfig.from_pretrained(tiny)
    config.vision_config.image_size = 96
    config.vision_config.patch_size = 16
    torch.manual_seed(3)
    CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True,
        "size": {"shortest_edge": 96}, "crop_size": {"height": 96, "width": 96}, "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def siglip_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the other architecture, with a vocabulary made of our captions."""
    folder = tmp_path_factory.mktemp("siglip")
    with (folder / "spiece.model").open("wb") as model:
        SentencePieceTrainer.train(
            sentence_iterator=iter(CAPTIONS * 20), model_writer=model, vocab_size=48,
            pad_id=-1, bos_id=-1, unk_id=2, eos_id=1, character_coverage=1.0, minloglevel=3,
        )  # fmt: skip
    layers = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
              "num_attention_heads": 3}  # fmt: skip
    torch.manual_seed(4)
    SiglipModel(
        SiglipConfig(
            text_config={**layers, "vocab_size": 48, "max_position_embeddings": 64},
            vision_config={**layers, "image_size": 64, "patch_size": 16},
        )
    ).save_pretrained(folder)
    SiglipTokenizer(str(folder / "spiece.model")).save_pretrained(folder)
    settings = {"image_processor_type": "SiglipImageProcessor", "resample": 2}
    size = {"size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | size))
    return folder


def test_siglip_weights_give_what_transformers_gives(siglip_weights: Path) -> None:
    pictures = images(24)
    captions = [CAPTIONS[at % len(CAPTIONS)] for at in range(24)]
    model = SiglipModel.from_pretrained(siglip_weights).eval()
    pixels = SiglipImageProcessorPil.from_pretrained(siglip_weights)(
        images=pictures, return_tensors="pt"
    )
    text = SiglipTokenizer.from_pretrained(siglip_weights)(
        captions, return_tensors="pt", padding="max_length", truncation=True, max_length=64
    )
    with torch.inference_mode():
        output = model(**pixels, **text)
    expected = (output.image_embeds * output.text_embeds).sum(-1).tolist()
    weights = open_weights(str(siglip_weights))
    ours = scorer(weights).score([decoded(each, weights) for each in pictures], captions)
    np.testing.assert_allclose(
        [each.similarity for each in ours if isinstance(each, Score)],
        expected, rtol=0, atol=TOLERANCE,
    )  # fmt: skip
    assert [each.caption_truncated for each in ours if isinstance(each, Score)] == [
        len(caption) > 300 for caption in captions
    ]


def test_the_embedded_weights_give_what_transformers_gives() -> None:
    weights = open_weights("tiny")
    pictures = images(48)
    captions = [CAPTIONS[at % len(CAPTIONS)] for at in range(48)]
    ours = similarities(weights, pictures, captions)
    np.testing.assert_allclose(
        ours, reference(weights.folder, pictures, captions), rtol=0, atol=TOLERANCE
    )


def test_other_weights_with_a_centre_crop_give_what_transformers_gives(
    cropped_weights: Path,
) -> None:
    pictures = images(24)
    captions = [CAPTIONS[at % len(CAPTIONS)] for at in range(24)]
    ours = similarities(open_weights(str(cropped_weights)), pictures, captions)
    np.testing.assert_allclose(
        ours, reference(cropped_weights, pictures, captions), rtol=0, atol=TOLERANCE
    )


def test_captions_over_the_context_length_are_flagged_and_keep_their_end() -> None:
    weights = open_weights("tiny")
    pixels = decoded(images(1)[0], weights)
    flags = [
        outcome.caption_truncated
        for outcome in scorer(weights).score([pixels, pixels], ["one " * 200, "one"])
        if isinstance(outcome, Score)
    ]
    assert flags == [True, False]


def test_the_same_batch_gives_the_same_bytes_and_rejected_places_change_nothing_else() -> None:
    weights = open_weights("tiny")
    pixels = [decoded(each, weights) for each in images(8)]
    captions = ["a red circle"] * 8
    gaps = [None if at == 3 else each for at, each in enumerate(pixels)]
    ours = scorer(weights)
    full, again, gapped = (ours.score(batch, captions) for batch in (pixels, pixels, gaps))
    assert full == again
    assert [each for at, each in enumerate(full) if at != 3] == [
        each for at, each in enumerate(gapped) if at != 3
    ]


def test_half_precision_on_the_cpu_is_refused_with_the_reason() -> None:
    weights = open_weights("tiny")
    half = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT16)
    with pytest.raises(SettingsInvalid, match="float16 needs a GPU"):
        open_clip(weights, half, ComputeOptions())


def test_weights_with_missing_tensors_are_refused(cropped_weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(cropped_weights, tmp_path / "weights")
    tensors = load_file(cropped_weights / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, tmp_path / "weights" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsInvalid, match=r"1 tensors are missing.*visual_projection\.weight"):
        scorer(open_weights(str(tmp_path / "weights")))


def test_weights_that_are_damaged_are_refused(cropped_weights: Path, tmp_path: Path) -> None:
    shutil.copytree(cropped_weights, tmp_path / "weights")
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"\x10" * 100)
    with pytest.raises(WeightsInvalid):
        scorer(open_weights(str(tmp_path / "weights")))


def test_a_tokenizer_of_other_weights_is_refused(cropped_weights: Path, tmp_path: Path) -> None:
    shutil.copytree(cropped_weights, tmp_path / "weights")
    config = CLIPConfig.from_pretrained(cropped_weights)
    config.text_config.vocab_size = 40
    CLIPModel(config).save_pretrained(tmp_path / "weights")
    with pytest.raises(WeightsInvalid, match=r"ids up to \d+, the text tower knows 40"):
        scorer(open_weights(str(tmp_path / "weights")))
