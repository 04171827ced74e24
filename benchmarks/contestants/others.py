"""Contestants from other packages; none of them is needed to install or to run the product."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from benchmarks.album import Pair
from benchmarks.contestants.entry import Absent, Entry
from benchmarks.contestants.transformers_loops import BATCH


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as missing:
        raise Absent("not installed") from missing


class Torchmetrics:
    """CLIPScore of torchmetrics with the same weights."""

    def __init__(self, entry: Entry) -> None:
        multimodal = _module("torchmetrics.multimodal")
        try:
            # A path it refuses; what it would load from a known name, it takes from a function.
            self._metric: Any = multimodal.CLIPScore(
                model_name_or_path=lambda: (
                    CLIPModel.from_pretrained(entry.weights).eval(),
                    CLIPProcessor.from_pretrained(entry.weights),
                )
            )
            self._metric.update([torch.zeros(3, 224, 224, dtype=torch.uint8)], ["nothing"])
        except Exception as failed:  # whatever it is, the row says so
            first = str(failed).strip().partition("\n")[0]
            raise Absent(f"fails as installed: {type(failed).__name__}: {first}"[:120]) from failed

    def prepare(self, _: Sequence[Pair]) -> None:
        """Forget the sum so far."""
        self._metric.reset()

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Score batch after batch; the metric only gives a mean."""
        for at in range(0, len(pairs), BATCH):
            batch = pairs[at : at + BATCH]
            images = [_channels_first(each.path) for each in batch]
            self._metric.update(images, [each.caption for each in batch])
        return []


class OpenClip:
    """ViT-B-32 of open_clip with random weights of its own: the same work, other values."""

    def __init__(self, _: Entry) -> None:
        package = _module("open_clip")
        self._model, _, self._preprocess = package.create_model_and_transforms("ViT-B-32")
        self._model.eval()
        self._tokenizer = package.get_tokenizer("ViT-B-32")

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """Nothing is kept."""

    @torch.inference_mode()
    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """Score batch after batch."""
        for at in range(0, len(pairs), BATCH):
            batch = pairs[at : at + BATCH]
            opened = [Image.open(each.path).convert("RGB") for each in batch]
            pixels = torch.stack([self._preprocess(each) for each in opened])
            seen = self._model.encode_image(pixels, normalize=True)
            read = self._model.encode_text(
                self._tokenizer([each.caption for each in batch]), normalize=True
            )
            (seen * read).sum(-1).tolist()
        return []


def _channels_first(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
