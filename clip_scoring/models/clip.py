"""The scorer: any `CLIPModel` or `SiglipModel`, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax

from clip_scoring.errors import DeviceLost
from clip_scoring.fingerprint import Dtype, Fingerprint
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.captions import CaptionTokenizer, Tokens
from clip_scoring.models.devices import kind, require_dtype
from clip_scoring.models.embeddings import Embedder, Embedding, out_of_memory
from clip_scoring.models.pixels import Normaliser
from clip_scoring.models.towers import TorchTowers, Towers, load_model
from clip_scoring.models.weights import Architecture, Weights
from clip_scoring.ports import DecodedImage, Pixels
from clip_scoring.records import Outcome, Reason, Rejection, Score
from clip_scoring.settings.environment import USUAL_CACHE


@dataclass(frozen=True, slots=True)
class Engine:
    """How the towers are run; nothing of it is part of the fingerprint.

    `threads` of torch on a CPU, None leaves them to torch; `compiled` by torch.compile; `rows` at
    most so many in one call.
    """

    device: str = "cpu"
    threads: int | None = None
    compiled: bool = False
    rows: int | None = None
    cache: Path = USUAL_CACHE


def open_clip(weights: Weights, fingerprint: Fingerprint, engine: Engine) -> ClipScorer:
    """The scorer for the fingerprint; raises SettingsInvalid for what the device cannot do."""
    require_dtype(fingerprint.dtype, engine.device)
    if engine.threads is not None:
        torch.set_num_threads(engine.threads)
    if fingerprint.dtype is not Dtype.INT8:
        dtype: torch.dtype = getattr(torch, fingerprint.dtype)
        model = load_model(weights, dtype=dtype, device=engine.device)
        towers: Towers = TorchTowers(model, compiled=engine.compiled)
        return ClipScorer(weights, fingerprint, towers, engine)
    from clip_scoring.models.int8.onnx_towers import open_int8  # noqa: PLC0415  # an optional extra

    model = load_model(weights, dtype=torch.float32, device=engine.device)
    threads = engine.threads or torch.get_num_threads()
    towers = open_int8(model, cache=engine.cache, name=weights.weights_sha256, threads=threads)
    return ClipScorer(weights, fingerprint, towers, engine, float32=model)


class ClipScorer:
    """Cosine of the projected image and text embeddings; one instance per process and device."""

    def __init__(
        self,
        weights: Weights,
        fingerprint: Fingerprint,
        towers: Towers,
        engine: Engine,
        *,
        float32: Any = None,
    ) -> None:
        self.fingerprint = fingerprint
        self.device = (
            torch.cuda.get_device_name(engine.device)
            if kind(engine.device) == "cuda"
            else engine.device
        )
        self._weights = weights
        self._engine = engine
        self._towers = towers
        self._tokenizer = CaptionTokenizer(weights)
        self._normalise = Normaliser(weights, torch.device(engine.device))
        self._float32 = float32
        self._redone = 0
        self._kept_labels: dict[tuple[tuple[str, ...], ...], NDArray[np.float32]] = {}
        most = engine.rows or max(towers.image_rows, towers.caption_rows)
        self._images: Embedder[bytes, Pixels] = Embedder(
            "images", self._encode_images, shape=lambda _: 0, rows=min(towers.image_rows, most)
        )
        self._captions: Embedder[Tokens, Tokens] = Embedder(
            "captions",
            self._encode_captions,
            shape=self._tokenizer.length if towers.lengths_apart else lambda _: 0,
            rows=min(towers.caption_rows, most),
        )

    def drain_metrics(self) -> StageMetrics:
        """What scoring did since this was asked last."""
        redone, self._redone = self._redone, 0
        measures = self._images.drain_metrics() + self._captions.drain_metrics()
        return measures + StageMetrics(
            counts={"float32_redone": redone}, peaks=self._device_memory()
        )

    @torch.inference_mode()
    def score(
        self, images: Sequence[DecodedImage | None], captions: Sequence[str | None]
    ) -> list[Outcome]:
        """Similarity of `images[i]` and `captions[i]`; None holds the place of a rejected pair."""
        tokens = iter(self._tokenizer.tokenize([each for each in captions if each is not None]))
        placed = [None if each is None else next(tokens) for each in captions]
        with self._alive():
            seen = self._images.embeddings([(i.digest, i.pixels) for i in images if i is not None])
            read = self._captions.embeddings([(each, each) for each in placed if each is not None])
            return [
                Rejection(Reason.NON_FINITE)  # nobody asks for it
                if image is None or text is None
                else self._outcome(image, text, seen[image.digest], read[text])
                for image, text in zip(images, placed, strict=True)
            ]

    @torch.inference_mode()
    def similarities(
        self, images: Sequence[DecodedImage], captions: Sequence[str]
    ) -> NDArray[np.float32]:
        """Cosines of each image with each caption, shape (images, captions).

        NaN where a side does not fit into memory, or has no direction.
        """
        return self._seen(images) @ self._read(captions).T

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[DecodedImage], prompts: Sequence[Sequence[str]]
    ) -> NDArray[np.float32]:
        """Of each label for each image, shape (images, labels); a label has one prompt or more.

        A label's embedding is the mean of its prompts' directions (Radford et al. 2021, section
        3.1.4). CLIP: softmax of exp(logit_scale) · cosine over the labels. SigLIP, which was
        trained on each pair alone: sigmoid of exp(logit_scale) · cosine + logit_bias.
        """
        model = self.float32_model
        logits = float(model.logit_scale.exp()) * (self._seen(images) @ self._labels(prompts).T)
        if self._weights.architecture is Architecture.SIGLIP:
            return np.asarray(expit(logits + float(model.logit_bias)), np.float32)
        return np.asarray(softmax(logits, axis=1), np.float32)

    def _labels(self, prompts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Shape (labels, D); kept for the next call, which mostly asks for the same."""
        asked = tuple(map(tuple, prompts))
        if asked not in self._kept_labels:
            read = self._read(list(chain.from_iterable(asked)))
            stops = np.cumsum([len(each) for each in asked])[:-1]
            means = [each.mean(axis=0) for each in np.split(read, stops)]
            self._kept_labels = {asked: np.stack([_direction(each) for each in means])}
        return self._kept_labels[asked]

    def _seen(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        with self._alive():
            found = self._images.embeddings([(each.digest, each.pixels) for each in images])
        return _directions([found[each.digest] for each in images])

    def _read(self, captions: Sequence[str]) -> NDArray[np.float32]:
        tokens = self._tokenizer.tokenize(captions)
        with self._alive():
            found = self._captions.embeddings([(each, each) for each in tokens])
        return _directions([found[each] for each in tokens])

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Raises DeviceLost where the device turns out to be dead."""
        try:
            yield
        except torch.AcceleratorError as dead:
            raise DeviceLost(f"{self.device}: {str(dead).splitlines()[0]}") from dead

    @cached_property
    def float32_model(self) -> Any:
        """The same weights in float32, on the same device: what doubts are settled by."""
        if self._float32 is not None:
            return self._float32
        if isinstance(self._towers, TorchTowers) and self.fingerprint.dtype is Dtype.FLOAT32:
            return self._towers.model
        return load_model(self._weights, dtype=torch.float32, device=self._engine.device)

    def _outcome(
        self, image: DecodedImage, text: Tokens, seen: Embedding | None, read: Embedding | None
    ) -> Outcome:
        if seen is None or read is None:
            return Rejection(Reason.OUT_OF_MEMORY, "not even alone")
        similarity = _cosine(seen, read)
        if not np.isfinite(similarity):
            similarity = self._redo(image, text)
        if not np.isfinite(similarity):
            return Rejection(Reason.NON_FINITE, "in float32 as well")
        return Score(similarity, text.cut)

    def _redo(self, image: DecodedImage, text: Tokens) -> float:
        """The pair alone in float32; NaN when that does not fit into memory."""
        self._redone += 1
        towers = TorchTowers(self.float32_model)
        try:
            seen = towers.encode_images(self._normalise([image.pixels], 1))
            read = towers.encode_captions(*self._tokenizer.padded([text], 1))
        except RuntimeError as failed:
            if not out_of_memory(failed):
                raise
            return float("nan")
        return _cosine(seen[0].cpu().numpy(), read[0].cpu().numpy())

    def _encode_images(self, images: Sequence[Pixels], rows: int) -> torch.Tensor:
        return self._towers.encode_images(self._normalise(images, rows))

    def _encode_captions(self, captions: Sequence[Tokens], rows: int) -> torch.Tensor:
        return self._towers.encode_captions(*self._tokenizer.padded(captions, rows))

    def _device_memory(self) -> dict[str, int]:
        if kind(self._engine.device) != "cuda":
            return {}
        return {"device_memory_bytes": torch.cuda.max_memory_allocated(self._engine.device)}


def _directions(embeddings: Sequence[Embedding | None]) -> NDArray[np.float32]:
    """Shape (N, D), each of length 1; NaN for what there is not."""
    width = next((len(each) for each in embeddings if each is not None), 1)
    missing = np.full(width, np.nan, np.float32)
    return np.stack([missing if each is None else _direction(each) for each in embeddings])


def _direction(embedding: Embedding) -> Embedding:
    with np.errstate(all="ignore"):
        unit: Embedding = embedding / np.linalg.norm(embedding)
        return unit


def _cosine(left: Embedding, right: Embedding) -> float:
    """Cosine in float32; NaN where one of them has no direction."""
    with np.errstate(all="ignore"):
        left, right = left / np.linalg.norm(left), right / np.linalg.norm(right)
        return float(np.dot(left, right))
