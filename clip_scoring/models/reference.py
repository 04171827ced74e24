"""The similarity of an image and a caption as transformers alone computes it, in float32."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from clip_scoring.models.captions import tokenizer_of
from clip_scoring.models.devices import memory_needed_for
from clip_scoring.models.weights import Architecture, Weights

_PROCESSORS = {
    Architecture.CLIP: CLIPImageProcessorPil,
    Architecture.SIGLIP: SiglipImageProcessorPil,
}


@torch.inference_mode()
def reference_similarities(
    weights: Weights, model: Any, pairs: Sequence[tuple[bytes, str]]
) -> list[float]:
    """Cosines of encoded images and captions by the processors that came with the weights.

    `model` is that of these weights in float32; captions are padded to its context length.
    """
    images = [Image.open(io.BytesIO(body)).convert("RGB") for body, _ in pairs]
    pixels = _PROCESSORS[weights.architecture].from_pretrained(weights.folder)(
        images=images, return_tensors="pt"
    )
    text = tokenizer_of(weights)(
        [caption for _, caption in pairs],
        return_tensors="pt", padding="max_length", truncation=True,
        max_length=model.config.text_config.max_position_embeddings,
    )  # fmt: skip
    with memory_needed_for("the reference"):
        seen = model.get_image_features(**pixels.to(model.device)).pooler_output
        read = model.get_text_features(**text.to(model.device)).pooler_output
    cosines: list[float] = torch.nn.functional.cosine_similarity(seen, read).tolist()
    return cosines
