"""A scorer and an encoder without a model: by hash, for tests of everything around the towers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.metrics import StageMetrics
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Outcome, Score

FAKE_FINGERPRINT = Fingerprint(
    weights_sha256="0" * 64,
    tokenizer_sha256="0" * 64,
    preprocessor_sha256="0" * 64,
    revision="fake",
    tier=Tier.EXACT,
    resize_kernel="bicubic",
    dtype=Dtype.FLOAT32,
)


class FakeScorer:
    """The same image and caption give the same similarity, spread evenly over [-1, 1)."""

    fingerprint = FAKE_FINGERPRINT
    device = "none"

    def drain_metrics(self) -> StageMetrics:
        """Nothing is encoded."""
        return StageMetrics()

    def score(
        self, images: Sequence[DecodedImage | None], captions: Sequence[str | None]
    ) -> list[Outcome]:
        """Similarity of `images[i]` and `captions[i]`; None holds the place of a rejected pair."""
        return [
            Score(_similarity(image, caption), caption_truncated=False)
            for image, caption in zip(images, captions, strict=True)
        ]


class FakeEncoder:
    """Directions by hash: the same image or caption gives the same one, others are far from it."""

    fingerprint = FAKE_FINGERPRINT

    def embed_images(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """Shape (N, 8), by the bytes of the pixels."""
        return _directions([image.pixels.tobytes() for image in images])

    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Shape (N, 8), by the text."""
        return _directions([caption.encode() for caption in captions])


def _directions(contents: Sequence[bytes]) -> NDArray[np.float32]:
    digests = b"".join(sha256(content).digest() for content in contents)
    rows = np.frombuffer(digests, "<u4").reshape(-1, 8).astype(np.float32) / 2**31 - 1.0
    units: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def _similarity(image: DecodedImage | None, caption: str | None) -> float:
    pixels = b"" if image is None else image.pixels.tobytes()
    digest = sha256(pixels + (caption or "").encode()).digest()
    return float(np.float32(int.from_bytes(digest[:3]) / 2**23 - 1.0))
