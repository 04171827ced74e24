"""Fixed pairs that a worker scores before anything else: wrong weights or pixels show here."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from clip_scoring.errors import DecoderBroken, DeviceLost, SelfTestFailed
from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.ports import DecodedImage, Loader, Pixels, Scorer
from clip_scoring.records import Outcome, Reason, Record, Rejection, Score

Reference = Callable[[Sequence[tuple[bytes, str]]], list[float]]

_OF_TOWERS = 1e-5
_OF_PIXELS = {Tier.EXACT: 0.0, Tier.FAST: 5.0, Tier.NVJPEG: 5.0}
"""Mean difference in levels. What it does to a similarity is up to the weights, so that no bound on
similarities would fit all of them."""
_OF_DTYPE = {Dtype.FLOAT32: 0.0, Dtype.FLOAT16: 5e-3, Dtype.BFLOAT16: 2e-2, Dtype.INT8: 3e-2}
_CAPTIONS = (
    "a red circle on a white background",
    "A photo of THREE large blue squares, left of a small green star; a drawing by a child",
    "one two three four five six seven eight nine ten " * 12,
)


def tolerance(fingerprint: Fingerprint) -> float:
    """How far a similarity of equal pixels may be from the reference's."""
    return _OF_TOWERS + _OF_DTYPE[fingerprint.dtype]


def fixed_pairs() -> list[tuple[bytes, str]]:
    """Encoded images, one wide, one tall, one large JPEG, and their captions."""
    wide, tall, large = _picture(320, 200), _picture(150, 450), _picture(1200, 900)
    bodies = (_encoded(wide, "PNG"), _encoded(tall, "PNG"), _encoded(large, "JPEG", quality=90))
    return list(zip(bodies, _CAPTIONS, strict=True))


def self_test(
    loader: Loader, scorer: Scorer, reference: Reference, exact: Callable[[bytes], Pixels]
) -> None:
    """Score the fixed pairs the way every record goes; raises SelfTestFailed when they are off."""
    pairs = fixed_pairs()
    records = [Record(at, "self-test", text, image=body) for at, (body, text) in enumerate(pairs)]
    images = [
        _pixels_checked(image, exact(body), _OF_PIXELS[scorer.fingerprint.tier])
        for image, (body, _) in zip(loader.load(records).images, pairs, strict=True)
    ]
    outcomes = scorer.score(images, [record.caption for record in records])
    similarities = _similarities(outcomes, scorer.device)
    expected = reference(pairs)
    allowed = tolerance(scorer.fingerprint)
    if not np.abs(np.array(similarities) - expected).max() <= allowed:  # NaN as well
        raise SelfTestFailed(
            f"self-test on {scorer.device}: similarities {_listed(similarities)} instead of "
            f"{_listed(expected)}, allowed {allowed:g}: this machine or its packages are broken"
        )


def _similarities(outcomes: Sequence[Outcome], device: str) -> list[float]:
    """NaN for a rejected pair; raises DeviceLost where there was no memory for one."""
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, Rejection)}
    if Reason.OUT_OF_MEMORY in reasons:
        raise DeviceLost(f"self-test on {device}: no memory for one pair")
    return [
        outcome.similarity if isinstance(outcome, Score) else float("nan") for outcome in outcomes
    ]


def _pixels_checked(
    image: DecodedImage | Rejection, expected: Pixels, allowed: float
) -> DecodedImage:
    """The image with the exact pixels, so that towers are judged by themselves."""
    if isinstance(image, Rejection):
        if image.reason is Reason.IMAGE_DECODER_CRASHED:
            raise DecoderBroken(f"self-test: {image.detail}")
        raise SelfTestFailed("self-test: a fixed image was not decoded: reinstall Pillow")
    off = np.abs(image.pixels.astype(np.int16) - expected).mean()
    if off > allowed:
        raise SelfTestFailed(f"self-test: pixels are off by {off:.2f} levels, allowed {allowed:g}")
    return DecodedImage(expected, image.digest + b"exact")


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6f}" for value in values)


def _picture(width: int, height: int) -> Image.Image:
    """Smooth gradients with edges, the same on every machine."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    red = across * 255 // width
    green = down * 255 // height
    blue = np.where((across // 40 + down // 40) % 2, 220, 40)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def _encoded(image: Image.Image, format: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()
