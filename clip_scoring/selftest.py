"""Fixed pairs that a worker scores before anything else: wrong weights or pixels show here."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from clip_scoring.errors import SelfTestFailed
from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.ports import Loader, Scorer
from clip_scoring.records import Record, Rejection, Score

Reference = Callable[[Sequence[tuple[bytes, str]]], list[float]]

_OF_TIER = {Tier.EXACT: 1e-5, Tier.FAST: 2e-3}
_OF_DTYPE = {Dtype.FLOAT32: 0.0, Dtype.FLOAT16: 5e-3, Dtype.BFLOAT16: 2e-2, Dtype.INT8: 3e-2}
_CAPTIONS = (
    "a red circle on a white background",
    "A photo of THREE large blue squares, left of a small green star; a drawing by a child",
    "one two three four five six seven eight nine ten " * 12,
)


def tolerance(fingerprint: Fingerprint) -> float:
    """How far a similarity may be from the reference's: several times what was measured."""
    return _OF_TIER[fingerprint.tier] + _OF_DTYPE[fingerprint.dtype]


def fixed_pairs() -> list[tuple[bytes, str]]:
    """Encoded images, one wide, one tall, one large JPEG, and their captions."""
    wide, tall, large = _picture(320, 200), _picture(150, 450), _picture(1200, 900)
    bodies = (_encoded(wide, "PNG"), _encoded(tall, "PNG"), _encoded(large, "JPEG", quality=90))
    return list(zip(bodies, _CAPTIONS, strict=True))


def self_test(loader: Loader, scorer: Scorer, reference: Reference) -> None:
    """Score the fixed pairs the way every record goes; raises SelfTestFailed when they are off."""
    pairs = fixed_pairs()
    records = [Record(at, "self-test", text, image=body) for at, (body, text) in enumerate(pairs)]
    images = [each for each in loader.load(records).images if not isinstance(each, Rejection)]
    if len(images) < len(pairs):
        raise SelfTestFailed("self-test: a fixed image was not decoded: reinstall Pillow")
    outcomes = scorer.score(images, [each.caption for each in records])
    found = [each.similarity for each in outcomes if isinstance(each, Score)]
    expected = reference(pairs)
    allowed = tolerance(scorer.fingerprint)
    off = np.abs(np.array(found) - expected) if len(found) == len(pairs) else np.array([np.inf])
    if not off.max() <= allowed:
        raise SelfTestFailed(
            f"self-test on {scorer.device}: similarities {_listed(found)} instead of "
            f"{_listed(expected)}, allowed {allowed:g}: this machine or its packages are broken"
        )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{each:.6f}" for each in values)


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
