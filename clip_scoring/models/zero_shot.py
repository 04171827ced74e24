"""Probabilities of labels for images that nobody was trained on (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from clip_scoring.models.clip import ClipScorer
from clip_scoring.models.cosines import cosines, unit_vector
from clip_scoring.models.weights import Architecture
from clip_scoring.ports import DecodedImage

Prompts = Sequence[Sequence[str]]
"""The captions of each label, one or more."""


class ZeroShot:
    """Labels over a scorer's embeddings; keeps those of the last labels."""

    def __init__(self, scorer: ClipScorer) -> None:
        self._scorer = scorer
        self._kept: dict[tuple[tuple[str, ...], ...], NDArray[np.float32]] = {}

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[DecodedImage], prompts: Prompts
    ) -> NDArray[np.float32]:
        """Of each label for each image, shape (images, labels).

        A label's embedding is the mean of its prompts' directions (Radford et al. 2021, section
        3.1.4). CLIP: softmax of exp(logit_scale) · cosine over the labels. SigLIP, which was
        trained on each pair alone: sigmoid of exp(logit_scale) · cosine + logit_bias.
        """
        model = self._scorer.float32_model
        units = cosines(self._scorer.embed_images(images), self._labels(prompts))
        logits = float(model.logit_scale.exp()) * torch.from_numpy(units)
        if self._scorer.architecture is Architecture.SIGLIP:
            logits = (logits + float(model.logit_bias)).sigmoid()
        else:
            logits = logits.softmax(dim=1)
        return np.asarray(logits.numpy(), np.float32)

    def _labels(self, prompts: Prompts) -> NDArray[np.float32]:
        """Shape (labels, D)."""
        asked = tuple(map(tuple, prompts))
        if asked not in self._kept:
            units = self._scorer.embed_captions(list(chain.from_iterable(asked)))
            stops = np.cumsum([len(captions) for captions in asked])[:-1]
            means = [rows.mean(axis=0) for rows in np.split(units, stops)]
            self._kept = {asked: np.stack([unit_vector(mean) for mean in means])}
        return self._kept[asked]
