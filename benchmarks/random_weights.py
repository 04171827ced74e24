"""Seeded random weights of full size in Hugging Face layout: they cost what trained ones cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging as transformers_logging

from clip_scoring.models.weights import open_weights

SEED = 5
_TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
              "special_tokens_map.json")  # fmt: skip
_PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True,
    "size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "resample": 3,
    "do_convert_rgb": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
"""OpenAI's, as published with all of its weights."""
_SHAPES: Mapping[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "ViT-B/32": ({}, {}, 512),
    "ViT-L/14": (
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
         "num_attention_heads": 16, "patch_size": 14},
        768,
    ),
}  # fmt: skip
"""What differs from transformers' defaults in text and image tower, and the projection."""


def write_weights(folder: Path, name: str = "ViT-B/32", *, layers: int | None = None) -> Path:
    """Weights of that shape with the tokenizer of the embedded ones; `layers` makes them shallow.

    The vocabulary keeps its full size; the tokenizer uses a part of it.
    """
    tiny = open_weights("tiny").folder
    folder.mkdir(parents=True, exist_ok=True)
    for each in _TOKENIZER:
        shutil.copy(tiny / each, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR))
    marks = json.loads((tiny / "config.json").read_text())["text_config"]
    text, vision, projection = _SHAPES[name]
    own = {each: marks[each] for each in ("bos_token_id", "eos_token_id", "pad_token_id")}
    depth = {} if layers is None else {"num_hidden_layers": layers}
    transformers_logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        config = CLIPConfig(
            text_config={**text, **own, **depth, "projection_dim": projection},
            vision_config={**vision, **depth, "projection_dim": projection},
            projection_dim=projection,
        )
        CLIPModel(config).save_pretrained(folder)
    return folder
