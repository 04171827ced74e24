"""Contestants that score as people do who have nothing but transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from benchmarks.album import Pair
from benchmarks.contestants.entry import Entry

CONTEXT = 77
BATCH = 32


class PairByPair:
    """A loop that many people write: one pair at a time, captions padded to the full length."""

    def __init__(self, entry: Entry) -> None:
        self._device = entry.device
        self._model: Any = CLIPModel.from_pretrained(
            entry.weights, dtype=getattr(torch, entry.dtype)
        ).to(entry.device).eval()  # fmt: skip
        self._processor: Any = CLIPProcessor.from_pretrained(entry.weights)

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """Nothing is kept."""

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Score each pair by itself."""
        found: list[float] = []
        for each in pairs:
            found += self._score([each], padding="max_length")
        return found

    @torch.inference_mode()
    def _score(self, pairs: Sequence[Pair], padding: str | bool) -> list[float]:
        inputs = self._processor(
            text=[each.caption for each in pairs],
            images=[Image.open(each.path).convert("RGB") for each in pairs],
            return_tensors="pt", padding=padding, truncation=True, max_length=CONTEXT,
        )  # fmt: skip
        output = self._model(**inputs.to(self._device, self._model.dtype))
        cosines: list[float] = (output.image_embeds * output.text_embeds).sum(-1).tolist()
        return cosines


class Batches(PairByPair):
    """The best plain loop: batches, each padded to its longest caption only."""

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Score batch after batch."""
        found: list[float] = []
        for at in range(0, len(pairs), BATCH):
            found += self._score(pairs[at : at + BATCH], padding=True)
        return found
