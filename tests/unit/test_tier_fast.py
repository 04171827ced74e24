"""Tier fast: how far its pixels are from those of tier exact, and what it decodes and resizes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from PIL import Image

from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decode import decode
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.models.resize import TorchResize
from clip_scoring.ports import Pixels
from tests.unit.test_decode import encoded, picture, png, refusal, shortest

# The bounds of the distance are what photographs as below showed at most, rounded up.


@cache
def photograph(width: int, height: int, seed: int = 3) -> Image.Image:
    """Detail of every size, the coarse strongest, as photographs have it."""
    chance = np.random.default_rng(seed)
    total = chance.normal(0, 3, (height, width, 3))
    for octave in range(1, 9):
        cells = chance.normal(0, 55 / octave, (2**octave, 2**octave, 3)).clip(-127, 127) + 127
        layer = Image.fromarray(cells.astype(np.uint8)).resize((width, height), 3)
        total += np.asarray(layer, float) - 127
    return Image.fromarray((total + 127).clip(0, 255).astype(np.uint8))


def distance(body: bytes, geometry: Geometry) -> tuple[int, float]:
    """Largest and mean difference between the tiers, in levels."""
    fast = decode(body, geometry, TorchResize())
    assert (fast.shape, fast.dtype, fast.flags.c_contiguous) == (geometry.shape, np.uint8, True)
    away = np.abs(fast.astype(int) - decode(body, geometry))
    return int(away.max()), float(away.mean())


@pytest.mark.parametrize(
    "size", [(640, 480), (480, 640), (640, 360), (1280, 400), (1500, 40), (40, 1500), (300, 300),
             (100, 90), (225, 224), (20, 31), (1, 1), (2600, 1700)], ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "geometry",
    [shortest(224, (224, 224)), shortest(40, (32, 30), 2), shortest(24, (32, 32)),
     Geometry(Fit.STRETCH, 224, 200, 3, None), Geometry(Fit.STRETCH, 100, 120, 2, (90, 90))],
    ids=lambda each: f"{each.fit}-{each.height}x{each.width}-{each.crop}-{each.resample}",
)  # fmt: skip
def test_tier_fast_is_within_two_levels_where_nothing_is_decoded_smaller(
    size: tuple[int, int], geometry: Geometry
) -> None:
    largest, mean = distance(encoded(photograph(*size), "BMP"), geometry)
    assert largest <= 2
    assert mean <= 0.3


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize(
    "size",
    [(2048, 1536), (1536, 2048), (1000, 700), (640, 480), (2047, 1537), (1351, 1801)],
    ids=str,
)
def test_tier_fast_is_close_where_a_jpeg_is_decoded_smaller(
    size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(photograph(*size), "JPEG", quality=88, exif=exif)
    for geometry in (shortest(224, (224, 224)), shortest(64, (64, 64)),
                     Geometry(Fit.STRETCH, 64, 120, 3, None)):  # fmt: skip
        largest, mean = distance(body, geometry)
        assert largest <= 3, geometry
        assert mean <= 0.4, geometry


class Seen:
    """Notes what it gets to resize, and leaves the rest to Pillow."""

    kernels = frozenset({3})

    def __init__(self) -> None:
        self.decoded = self.size = (0, 0)
        self.extent = (0.0, 0.0)

    def __call__(
        self,
        image: Image.Image,
        *,
        extent: tuple[float, float],
        size: tuple[int, int],
        window: tuple[int, int, int, int],
        kernel: int,
    ) -> Pixels:
        self.decoded, self.extent, self.size = (image.height, image.width), extent, size
        top, left, bottom, right = window
        return np.asarray(image.resize(size[::-1], kernel))[top:bottom, left:right]


@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    ("size", "scale"),
    [((4000, 3600), 8), ((2101, 1801), 4), ((900, 1000), 2), ((895, 895), 1), ((2000, 64), 1)],
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_leaves_enough(
    size: tuple[int, int], scale: int, mode: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = Seen()
    body = encoded(Image.new(mode, size, 128 if mode == "L" else (128,) * len(mode)), "JPEG",
                   exif=exif)  # fmt: skip
    decode(body, shortest(32, (32, 32)), seen)
    width, height = size if orientation == 1 else size[::-1]
    if orientation != 1 and (width % 8 or height % 8):
        scale = 1  # the part of a pixel would come to lie at the beginning
    assert seen.decoded == (-(-height // scale), -(-width // scale))
    assert seen.extent == (height / scale, width / scale)
    assert min(seen.decoded) >= max(3 * 32, 448) or scale == 1


def test_the_size_to_resize_to_follows_from_the_size_before_a_jpeg_is_decoded_smaller() -> None:
    seen = Seen()
    decode(encoded(Image.new("RGB", (2050, 1025)), "JPEG"), shortest(100, (100, 100)), seen)
    assert seen.decoded == (513, 1025)
    assert seen.size == (100, 200)  # of the smaller size it were 100 * 1025 / 513 = 199.8


@pytest.mark.parametrize("resample", [0, 1, 4, 5])
def test_tier_fast_leaves_the_kernels_that_torch_lacks_to_pillow(resample: int) -> None:
    geometry = shortest(32, (32, 32), resample)
    assert distance(encoded(photograph(90, 61), "BMP"), geometry) == (0, 0.0)


@pytest.mark.parametrize(
    "body", [b"", b"qoif" + bytes(20), png(10_000, 5001, depth=1, colour=0, rows=b""),
             encoded(Image.new("L", (1, 51))), encoded(picture(90, 61), "JPEG")[:2000]],
    ids=len,
)  # fmt: skip
def test_both_tiers_refuse_alike(body: bytes) -> None:
    with pytest.raises(ImageRejected) as raised:
        decode(body, shortest(), TorchResize())
    assert raised.value.rejection == refusal(body)


@pytest.mark.parametrize("resize", [None, TorchResize()], ids=["exact", "fast"])
def test_a_body_may_lie_in_memory_that_is_not_ours(resize: TorchResize | None) -> None:
    body = encoded(picture(90, 61), "JPEG")
    np.testing.assert_array_equal(
        decode(memoryview(body), shortest(), resize), decode(body, shortest(), resize)
    )
