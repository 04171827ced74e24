"""The embedded weights load anywhere and tell captions apart on scenes they never saw."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor, CLIPTokenizer

from clip_scoring.training.tiny.evaluate import (
    WEIGHTS,
    Renderer,
    area_under_curve,
    measure,
)


@pytest.fixture(scope="module")
def model() -> CLIPModel:
    return CLIPModel.from_pretrained(WEIGHTS, local_files_only=True).eval()


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(WEIGHTS, local_files_only=True)


def test_the_folder_is_complete_and_under_8_megabytes() -> None:
    names = {path.name for path in WEIGHTS.iterdir()}
    assert names >= {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
    }
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= 8_000_000


def test_the_text_is_pooled_at_its_first_end_token(
    model: CLIPModel, tokenizer: CLIPTokenizer
) -> None:
    ids = model.config.text_config
    assert ids.eos_token_id == tokenizer.eos_token_id != 2
    assert (ids.bos_token_id, ids.pad_token_id) == (tokenizer.bos_token_id, tokenizer.pad_token_id)


def test_padding_a_caption_does_not_change_its_embedding(
    model: CLIPModel, tokenizer: CLIPTokenizer
) -> None:
    caption = ["a small green star left of a yellow ring"]
    short = tokenizer(caption, return_tensors="pt")["input_ids"]
    long = tokenizer(caption, padding="max_length", return_tensors="pt")["input_ids"]
    assert (short.shape[1], long.shape[1]) == (11, 77)
    with torch.inference_mode():
        trimmed, padded = (
            model.get_text_features(input_ids=ids).pooler_output for ids in (short, long)
        )
    assert torch.allclose(trimmed, padded, atol=1e-5)


@pytest.mark.parametrize("caption", ["Ünïcode 日本 🦓", "\x01\x7f\u2028", "zebra, qu'il; 100%"])
def test_any_caption_becomes_tokens_without_losing_bytes(
    caption: str, tokenizer: CLIPTokenizer
) -> None:
    tokens = tokenizer(caption)["input_ids"]
    assert tokens[0] == tokenizer.bos_token_id
    assert tokens.index(tokenizer.eos_token_id) == len(tokens) - 1


def test_a_long_caption_keeps_its_end_token(tokenizer: CLIPTokenizer) -> None:
    tokens = tokenizer("red " * 100, truncation=True)["input_ids"]
    assert len(tokens) == 77
    assert tokens[-1] == tokenizer.eos_token_id


def test_a_wide_picture_is_squashed_and_not_cropped() -> None:
    processor = CLIPProcessor.from_pretrained(WEIGHTS, local_files_only=True)
    picture = Image.new("RGB", (200, 100), "white")
    picture.paste("red", (0, 0, 20, 100))
    pixels = processor(images=[picture], return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 64, 64)
    assert pixels[0, :, 32, 0].tolist() == pytest.approx([1, -1, -1], abs=0.02)


def test_the_area_under_the_curve_is_the_chance_of_the_right_order() -> None:
    higher, lower = torch.tensor([0.9, 0.5]).numpy(), torch.tensor([0.5, 0.1, 0.7]).numpy()
    assert area_under_curve(higher, lower) == pytest.approx((3 + 1.5) / 6)


def test_held_out_scenes_of_our_renderer_find_their_captions() -> None:
    figures = measure(WEIGHTS, Renderer.OURS, groups=4)
    assert figures.auc >= 0.99
    assert figures.top_1 >= 0.75


def test_held_out_scenes_of_a_foreign_renderer_find_their_captions() -> None:
    figures = measure(WEIGHTS, Renderer.FOREIGN, groups=4)
    assert figures.auc >= 0.99
    assert figures.top_1 >= 0.75
