"""The scorer: any `CLIPModel`, FP32 on the CPU, FP16 or FP32 on CUDA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from clip_scoring.errors import SettingsInvalid, WeightsInvalid
from clip_scoring.fingerprint import Dtype, Fingerprint
from clip_scoring.models.weights import Weights
from clip_scoring.ports import Pixels
from clip_scoring.records import Outcome, Reason, Rejection, Score

_ARGMAX_POOLING_EOS = 2
"""transformers' marker in old configurations: pooled at the largest id, not at the first EOT."""


class ClipScorer:
    """Cosine of the projected image and text embeddings; one instance per process and device."""

    def __init__(self, weights: Weights, fingerprint: Fingerprint, *, device: str) -> None:
        if device == "cpu" and fingerprint.dtype is not Dtype.FLOAT32:
            raise SettingsInvalid(f"dtype {fingerprint.dtype} needs a GPU, this is the CPU")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.fingerprint = fingerprint
        self.device = torch.cuda.get_device_name(device) if device == "cuda" else device
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, fingerprint.dtype)
        self._model = _load_model(weights, self._dtype).to(self._device).eval()
        self._text = _CaptionEncoder(weights, self._model.config.text_config)
        self._shape = weights.geometry.shape
        self._rescale = weights.rescale
        self._mean = self._channel(weights.mean)
        self._std = self._channel(weights.std)

    def peaks(self) -> Mapping[str, int]:
        """The most memory in use on the GPU so far."""
        if self._device.type != "cuda":
            return {}
        return {"device_memory_bytes": torch.cuda.max_memory_allocated(self._device)}

    @torch.inference_mode()
    def score(
        self, images: Sequence[Pixels | None], captions: Sequence[str | None]
    ) -> list[Outcome]:
        """Similarity of `images[i]` and `captions[i]`; None holds the place of a rejected pair."""
        ids, mask, truncated = self._text(captions)
        seen = self._model.get_image_features(pixel_values=self._pixel_values(images))
        read = self._model.get_text_features(
            input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
        )
        similarities = _cosine(seen.pooler_output, read.pooler_output).cpu().tolist()
        return [
            Score(each, cut) if np.isfinite(each) else Rejection(Reason.NON_FINITE)
            for each, cut in zip(similarities, truncated, strict=True)
        ]

    def _channel(self, values: tuple[float, float, float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)

    def _pixel_values(self, images: Sequence[Pixels | None]) -> torch.Tensor:
        """uint8 (B, H, W, 3) crosses to the device, float (B, 3, H, W) is made there."""
        blank = np.zeros(self._shape, dtype=np.uint8)
        batch = np.stack([blank if image is None else image for image in images])
        pixels = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2).float()
        return ((pixels * self._rescale - self._mean) / self._std).to(self._dtype)


class _CaptionEncoder:
    """Captions to token ids, trimmed to the longest of the batch where that changes nothing."""

    def __init__(self, weights: Weights, config: Any) -> None:
        self._tokenizer = CLIPTokenizer.from_pretrained(weights.folder, local_files_only=True)
        self._context: int = config.max_position_embeddings
        self._end: int = self._tokenizer.eos_token_id
        pad = self._tokenizer.pad_token_id
        self._pad: int = self._end if pad is None else pad
        by_argmax = config.eos_token_id == _ARGMAX_POOLING_EOS
        self._trims = self._pad <= self._end or not by_argmax

    def __call__(
        self, captions: Sequence[str | None]
    ) -> tuple[torch.Tensor, torch.Tensor, list[bool]]:
        """Ids and mask, int64 (B, T), T at most the context length, and which were cut.

        A caption over the context length keeps its end-of-text token. Trimming is exact because
        attention is causal and the text is pooled at that token.
        """
        tokens = self._tokenizer([each or "" for each in captions], verbose=False)["input_ids"]
        truncated = [len(each) > self._context for each in tokens]
        longest = max(map(len, tokens)) if self._trims else self._context
        ids = torch.full((len(tokens), min(longest, self._context)), self._pad)
        mask = torch.zeros_like(ids)
        for at, each in enumerate(tokens):
            kept = [*each[: self._context - 1], self._end] if truncated[at] else each
            ids[at, : len(kept)] = torch.tensor(kept)
            mask[at, : len(kept)] = 1
        return ids, mask, truncated


def choose_device(wanted: str = "auto") -> str:
    """`cuda` or `cpu`; `auto` takes a GPU where torch sees one."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsInvalid("device cuda was asked for, but torch sees no GPU")
    return wanted


def _load_model(weights: Weights, dtype: torch.dtype) -> Any:
    transformers_logging.disable_progress_bar()
    try:
        model, report = CLIPModel.from_pretrained(
            weights.folder,
            use_safetensors=True,
            local_files_only=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as broken:
        first_line = str(broken).strip().splitlines()[0]
        raise WeightsInvalid(f"weights {weights.folder}: {first_line}") from broken
    if missing := sorted(report["missing_keys"]):
        raise WeightsInvalid(
            f"weights {weights.folder}: {len(missing)} tensors are missing, among them {missing[0]}"
        )
    return model


def _cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Row-wise cosine in float32; NaN where a row has no direction."""
    left, right = left.float(), right.float()
    cosine: torch.Tensor = (left * right).sum(dim=-1) / (left.norm(dim=-1) * right.norm(dim=-1))
    return cosine
