"""The scorer: any `CLIPModel` or `SiglipModel`, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clip_scoring.errors import DeviceLost
from clip_scoring.fingerprint import Dtype, Fingerprint
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.calls import calls_on
from clip_scoring.models.captions import CaptionTokenizer, Tokens
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.cosines import cosine, cosines, unit_vector
from clip_scoring.models.devices import memory_peaks, require_dtype, shown_name
from clip_scoring.models.embeddings import Embedder, Embedding, out_of_memory
from clip_scoring.models.pixels import Normaliser
from clip_scoring.models.towers import TorchTowers, Towers, embedding_dimensions, load_model
from clip_scoring.models.weights import Weights
from clip_scoring.ports import DecodedImage, Pixels
from clip_scoring.records import Outcome, Reason, Rejection, Score


def open_clip(weights: Weights, fingerprint: Fingerprint, options: ComputeOptions) -> ClipScorer:
    """The scorer for the fingerprint; raises SettingsInvalid for what the device cannot do."""
    require_dtype(fingerprint.dtype, options.device)
    if fingerprint.dtype is not Dtype.INT8:
        dtype: torch.dtype = getattr(torch, fingerprint.dtype)
        model = load_model(weights, dtype=dtype, device=options.device)
        towers: Towers = TorchTowers(model, compiled=options.compiled)
        return ClipScorer(weights, fingerprint, towers, options)
    from clip_scoring.models.int8.onnx_towers import open_int8  # noqa: PLC0415  # an optional extra

    model = load_model(weights, dtype=torch.float32, device=options.device)
    towers = open_int8(model, cache=options.cache, name=weights.weights_sha256)
    return ClipScorer(weights, fingerprint, towers, options, float32=model)


class ClipScorer:
    """Cosine of the projected image and text embeddings; one instance per process and device.

    Every call of a tower has the shape that its device batch size gives, so that a similarity is a
    function of its pair, to the bit; `Embedder` states the exception after running out of memory.
    """

    def __init__(
        self,
        weights: Weights,
        fingerprint: Fingerprint,
        towers: Towers,
        options: ComputeOptions,
        *,
        float32: Any = None,
    ) -> None:
        self.fingerprint = fingerprint
        self.device = shown_name(options.device)
        self.architecture = weights.architecture
        self._weights = weights
        self._options = options
        self._towers = towers
        self._tokenizer = CaptionTokenizer(weights)
        self._normalise = Normaliser(weights, torch.device(options.device))
        self._dimensions = embedding_dimensions(weights)
        self._float32 = float32
        self._redone = 0
        self._calls = calls_on(options.device, options.threads)
        self._images: Embedder[bytes, Pixels] = Embedder(
            "images",
            self._encode_images,
            shape=lambda _: 0,
            device_batch_size=towers.image_device_batch_size,
            calls=self._calls,
        )
        self._captions: Embedder[Tokens, Tokens] = Embedder(
            "captions",
            self._encode_captions,
            shape=self._tokenizer.length if towers.lengths_apart else lambda _: 0,
            device_batch_size=towers.caption_device_batch_size,
            calls=self._calls,
        )

    def drain_metrics(self) -> StageMetrics:
        """What scoring did since this was asked last."""
        redone, self._redone = self._redone, 0
        measures = self._images.drain_metrics() + self._captions.drain_metrics()
        return measures + StageMetrics(
            counts={"float32_redone": redone}, peaks=memory_peaks(self._options.device)
        )

    @torch.inference_mode()
    def score(
        self, images: Sequence[DecodedImage | None], captions: Sequence[str | None]
    ) -> list[Outcome]:
        """Similarity of `images[i]` and `captions[i]`; None holds the place of a rejected pair."""
        texts = self._tokenizer.tokenize_present(captions)
        with self._alive():
            by_digest = self._images.embeddings(
                [(image.digest, image.pixels) for image in images if image is not None]
            )
            by_tokens = self._captions.embeddings([(text, text) for text in texts if text])
            return [
                self._outcome(image, text, by_digest[image.digest], by_tokens[text])
                if image and text
                else Rejection(Reason.NON_FINITE)  # nobody asks for it
                for image, text in zip(images, texts, strict=True)
            ]

    @torch.inference_mode()
    def embed_images(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """Unit vectors, shape (N, D); a row of NaN where there is no memory, or no direction."""
        with self._alive():
            embeddings = self._images.embeddings([(image.digest, image.pixels) for image in images])
        return self._units([embeddings[image.digest] for image in images])

    @torch.inference_mode()
    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape (N, D); a row of NaN where there is no memory, or no direction."""
        tokens = self._tokenizer.tokenize(captions)
        with self._alive():
            embeddings = self._captions.embeddings([(text, text) for text in tokens])
        return self._units([embeddings[text] for text in tokens])

    @torch.inference_mode()
    def similarities(
        self, images: Sequence[DecodedImage], captions: Sequence[str]
    ) -> NDArray[np.float32]:
        """Cosines of each image with each caption, shape (images, captions).

        NaN where a side does not fit into memory, or has no direction. Each is what `score` gives
        for that pair, to the bit, whatever else is in the matrix.
        """
        return cosines(self.embed_images(images), self.embed_captions(captions))

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
        return load_model(self._weights, dtype=torch.float32, device=self._options.device)

    def _outcome(
        self,
        image: DecodedImage,
        text: Tokens,
        of_image: Embedding | None,
        of_text: Embedding | None,
    ) -> Outcome:
        if of_image is None or of_text is None:
            return Rejection(Reason.OUT_OF_MEMORY, "not even alone")
        similarity = cosine(of_image, of_text)
        if not np.isfinite(similarity):
            redone = self._redone_in_float32(image, text)
            if redone is None:
                return Rejection(Reason.OUT_OF_MEMORY, "not even alone, in float32")
            similarity = redone
        if not np.isfinite(similarity):
            return Rejection(Reason.NON_FINITE, "in float32 as well")
        return Score(similarity, text.cut)

    def _redone_in_float32(self, image: DecodedImage, text: Tokens) -> float | None:
        """The similarity of the pair alone in float32; None when that does not fit into memory."""
        self._redone += 1
        towers = TorchTowers(self.float32_model)

        def redo(_: None) -> float:
            of_image = towers.encode_images(self._normalise([image.pixels], 1))
            of_text = towers.encode_captions(*self._tokenizer.padded([text], 1))
            return cosine(of_image[0].cpu().numpy(), of_text[0].cpu().numpy())

        try:
            return self._calls.run(redo, [None])[0]
        except RuntimeError as failed:
            if not out_of_memory(failed):
                raise
        return None

    def _units(self, embeddings: Sequence[Embedding | None]) -> NDArray[np.float32]:
        missing = np.full(self._dimensions, np.nan, np.float32)
        rows = [missing if row is None else unit_vector(row) for row in embeddings]
        return np.stack(rows) if rows else np.empty((0, self._dimensions), np.float32)

    def _encode_images(self, images: Sequence[Pixels], rows: int) -> torch.Tensor:
        return self._towers.encode_images(self._normalise(images, rows))

    def _encode_captions(self, captions: Sequence[Tokens], rows: int) -> torch.Tensor:
        return self._towers.encode_captions(*self._tokenizer.padded(captions, rows))
