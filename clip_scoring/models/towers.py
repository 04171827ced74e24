"""The two towers of a `CLIPModel` or `SiglipModel`: normalised pixels or tokens to embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import safetensors.torch
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CLIPModel, SiglipModel
from transformers.utils import logging as transformers_logging

from clip_scoring.errors import WeightsInvalid
from clip_scoring.models.devices import memory_needed_for
from clip_scoring.models.pooled import caption_embeddings, image_embeddings, pooled_at
from clip_scoring.models.weights import Architecture, Weights

_MODELS = {Architecture.CLIP: CLIPModel, Architecture.SIGLIP: SiglipModel}
_IMAGE_DEVICE_BATCH_SIZE = {"cpu": 8, "cuda": 64, "mps": 32}
_CAPTION_DEVICE_BATCH_SIZE = {"cpu": 4, "cuda": 64, "mps": 32}
"""On CPUs few rows already keep a core busy, and waste little when some of them are blank; on GPUs
a batch of the usual size fills a call."""


class Towers(Protocol):
    """Two encoders into one space; a row of a result depends on its own row of the input only.

    To the bit, as long as every call has the same shape.
    """

    image_device_batch_size: int
    """How many images every call has; constant for a kind of device."""
    caption_device_batch_size: int
    """How many captions every call has; constant for a kind of device."""
    lengths_apart: bool
    """Whether captions of different lengths in one call would change each other's bits."""

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels, float32 (B, 3, H, W), to projected embeddings, float32 (B, D)."""

    def encode_captions(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Token ids and mask, int64 (B, T), to projected embeddings, float32 (B, D)."""


class TorchTowers:
    """Towers in torch, in the number format of the model's parameters."""

    lengths_apart = True

    def __init__(self, model: Any, *, compiled: bool = False) -> None:
        self.model = model
        self._device: torch.device = model.device
        self._dtype: torch.dtype = model.dtype
        self._end: int = model.config.text_config.eos_token_id
        self.image_device_batch_size = _IMAGE_DEVICE_BATCH_SIZE[self._device.type]
        self.caption_device_batch_size = _CAPTION_DEVICE_BATCH_SIZE[self._device.type]
        is_clip = model.config.model_type == Architecture.CLIP
        self._embed_images: Callable[[torch.Tensor], torch.Tensor] = (
            partial(image_embeddings, model) if is_clip else self._whole_images
        )
        self._embed_captions: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = (
            partial(caption_embeddings, model) if is_clip else None
        )
        if compiled:
            self._embed_images = torch.compile(self._embed_images)
            self._embed_captions = self._embed_captions and torch.compile(self._embed_captions)

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels, float32 (B, 3, H, W), to projected embeddings, float32 (B, D)."""
        return self._embed_images(pixels.to(self._dtype)).float()

    def encode_captions(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Token ids and mask, int64 (B, T), to projected embeddings, float32 (B, D)."""
        there = ids.to(self._device, non_blocking=True)
        if self._embed_captions is None or mask is None:
            return self._whole_captions(there, mask).float()
        ends = pooled_at(ids, self._end)
        if not mask.gather(1, ends[:, None]).all():  # pooled at padding, which then counts
            return self._whole_captions(there, mask).float()
        return self._embed_captions(there, ends.to(self._device, non_blocking=True)).float()

    def _whole_images(self, pixels: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.model.get_image_features(pixel_values=pixels).pooler_output
        return embeddings

    def _whole_captions(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        there = None if mask is None else mask.to(self._device, non_blocking=True)
        read = self.model.get_text_features(input_ids=ids, attention_mask=there)
        embeddings: torch.Tensor = read.pooler_output
        return embeddings


def embedding_dimensions(weights: Weights) -> int:
    """The D of the towers' embeddings, from the configuration alone."""
    config = _MODELS[weights.architecture].config_class.from_pretrained(weights.folder)
    if weights.architecture is Architecture.CLIP:
        return int(config.projection_dim)
    return int(config.vision_config.hidden_size)


def load_model(weights: Weights, *, dtype: torch.dtype, device: str) -> Any:
    """The model of the weights' architecture, ready to encode; raises WeightsInvalid.

    Its tensors are made of the bytes that were hashed, in memory of this process: no file that
    somebody overwrites can change them. Raises WeightsChanged where one was before.
    """
    # TF32 would round float32 products to ten bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    transformers_logging.disable_progress_bar()
    kind = _MODELS[weights.architecture]
    try:
        config = kind.config_class.from_pretrained(weights.folder)
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=_tensors(weights),
            local_files_only=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as broken:
        first_line = str(broken).strip().splitlines()[0]
        raise WeightsInvalid(f"weights {weights.folder}: {first_line}") from broken
    if missing := sorted(report["missing_keys"]):
        raise WeightsInvalid(
            f"weights {weights.folder}: {len(missing)} tensors are missing, among them {missing[0]}"
        )
    with memory_needed_for(f"weights {weights.folder}"):
        return model.to(device).eval()


def _tensors(weights: Weights) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name in weights.tensor_files():
        tensors |= safetensors.torch.load(weights.read(name))
    return tensors
