"""Each rule for formats and modes, by values worked out by hand and by golden pixels."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from PIL import Image, ImageCms

from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decode import decode
from clip_scoring.models.resize import TorchResize
from clip_scoring.ports import Pixels

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
GOLDEN = Path(__file__).with_name("modes.json")
GEOMETRY = Geometry(Fit.STRETCH, 6, 8, 3, None)
RESIZE = {Tier.EXACT: None, Tier.FAST: TorchResize()}
LOSSY = 4
"""Levels by which a lossy format may miss a colour, and golden pixels may move with its codec."""

Colour: TypeAlias = tuple[int, ...]
Quarters: TypeAlias = tuple[Colour, Colour, Colour, Colour]
"""Colours of the upper left, upper right, lower left and lower right quarter."""
RED, GREEN, BLUE, SAND = (200, 30, 40), (30, 180, 60), (20, 60, 210), (240, 230, 90)
PICTURE: Quarters = (RED, GREEN, BLUE, SAND)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Case:
    body: bytes
    expected: Quarters
    tolerance: int = 0


def quarters(colours: Quarters, dtype: type = np.uint8) -> np.ndarray:
    """64 by 48 pixels: at this size the fast tier decodes a JPEG at a quarter of its scale."""
    cells = np.array(colours, dtype).reshape(2, 2, -1)
    return cells.repeat(24, axis=0).repeat(32, axis=1).squeeze()


def drawn(colours: Quarters, mode: str | None = None) -> Image.Image:
    return Image.fromarray(quarters(colours), mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def grey(*levels: int) -> Quarters:
    """The RGB quarters of four levels."""
    one, two, three, four = ((level,) * 3 for level in levels)
    return one, two, three, four


# What a viewer sees of stored quarters 0 1 / 2 3, by the EXIF specification.
SEEN = {1: (0, 1, 2, 3), 2: (1, 0, 3, 2), 3: (3, 2, 1, 0), 4: (2, 3, 0, 1),
        5: (0, 2, 1, 3), 6: (2, 0, 3, 1), 7: (3, 1, 2, 0), 8: (1, 3, 0, 2)}  # fmt: skip


def oriented(orientation: int, kind: str, **options: object) -> Case:
    exif = Image.Exif()
    exif[0x0112] = orientation
    one, two, three, four = (PICTURE[at] for at in SEEN[orientation])
    body = encoded(drawn(PICTURE), kind, exif=exif, **options)
    return Case(body, (one, two, three, four), LOSSY if kind == "JPEG" else 0)


ALPHAS = (255, 128, 0, 51)
OVER_WHITE: Quarters = (RED, (142, 217, 157), WHITE, (252, 250, 222))
"""By hand: colour * alpha / 255 + 255 * (1 - alpha / 255)."""


def with_alpha(mode: str, kind: str, **options: object) -> Case:
    """PICTURE with ALPHAS in a mode that has transparency."""
    if mode == "RGBA":
        one, two, three, four = ((*c, a) for c, a in zip(PICTURE, ALPHAS, strict=True))
        body = encoded(drawn((one, two, three, four)), kind, **options)
        return Case(body, OVER_WHITE, 1)
    palette = drawn(((0,), (1,), (2,), (3,)), "P")
    palette.putpalette([level for colour in PICTURE for level in colour])
    if mode == "P":
        return Case(encoded(palette, kind, transparency=bytes(ALPHAS), **options), OVER_WHITE, 1)
    palette.putalpha(Image.fromarray(quarters(tuple((each,) for each in ALPHAS))))
    assert palette.mode == "PA"
    return Case(encoded(palette, kind, **options), OVER_WHITE, 1)


def with_grey_alpha() -> Case:
    given = ((10, 255), (100, 128), (77, 0), (200, 51))
    return Case(encoded(drawn(given, "LA"), "PNG"), grey(10, 177, 255, 244), 1)


def transparent_gif() -> Case:
    palette = drawn(((0,), (1,), (2,), (3,)), "P")
    palette.putpalette([level for colour in PICTURE for level in colour])
    return Case(encoded(palette, "GIF", transparency=2), (RED, GREEN, WHITE, SAND))


def wide(levels: tuple[float, ...], dtype: type, kind: str, expected: tuple[int, ...]) -> Case:
    one, two, three, four = ((level,) for level in levels)
    image = Image.fromarray(quarters((one, two, three, four), dtype))  # type: ignore[arg-type]
    return Case(encoded(image, kind), grey(*expected))


INKS: Quarters = ((0, 200, 180, 20), (200, 0, 150, 0), (220, 150, 0, 40), (0, 0, 0, 0))
PRINTED: Quarters = ((235, 51, 69), (55, 255, 105), (30, 89, 215), WHITE)
"""By hand: (255 - ink) * (255 - black) / 255."""


def ycck() -> bytes:
    """A CMYK JPEG whose inks are stored as YCbCr, as Adobe's programs write it.

    Pillow writes the four channels as they are, inverted; the marker then tells the truth.
    """
    inks = quarters(INKS)
    turned = np.asarray(Image.fromarray(inks[..., :3].copy()).convert("YCbCr"))
    stored = np.dstack([255 - turned, inks[..., 3]])
    body = bytearray(encoded(Image.fromarray(stored, "CMYK"), "JPEG", quality=95))
    marker = body.index(b"Adobe")
    assert body[marker + 11] == 0
    body[marker + 11] = 2
    return bytes(body)


def animated(kind: str, **options: object) -> Case:
    others = [Image.new("RGB", (64, 48), colour) for colour in ("black", "white")]
    body = encoded(drawn(PICTURE), kind, save_all=True, append_images=others, **options)
    return Case(body, PICTURE)


def jpeg(tolerance: int = LOSSY, **options: object) -> Case:
    return Case(encoded(drawn(PICTURE), "JPEG", quality=95, **options), PICTURE, tolerance)


def profile() -> bytes:
    """A profile under which the same numbers would be other colours."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def bits() -> Case:
    image = Image.fromarray(quarters(((255,), (0,), (0,), (255,)))).convert("1")
    return Case(encoded(image, "PNG"), (WHITE, BLACK, BLACK, WHITE))


CASES: dict[str, Callable[[], Case]] = {
    **{f"JPEG, orientation {each}": lambda each=each: oriented(each, "JPEG") for each in SEEN},
    "PNG, orientation 6": lambda: oriented(6, "PNG"),
    "TIFF, orientation 6": lambda: oriented(6, "TIFF"),
    "WebP, orientation 6": lambda: oriented(6, "WEBP", lossless=True),
    "RGBA, PNG": lambda: with_alpha("RGBA", "PNG"),
    "RGBA, WebP": lambda: with_alpha("RGBA", "WEBP", lossless=True, exact=True),
    "RGBA, TIFF": lambda: with_alpha("RGBA", "TIFF"),
    "LA": with_grey_alpha,
    "PA": lambda: with_alpha("PA", "TIFF"),
    "palette with alpha": lambda: with_alpha("P", "PNG"),
    "palette with one transparent entry": transparent_gif,
    "16 bit": lambda: wide(
        (0x12FF, 0x00FF, 0xFFFF, 0x8000), np.uint16, "PNG", (0x12, 0, 0xFF, 0x80)
    ),
    "32 bit": lambda: wide((0x1234, 70_000, -5, 0x80FF), np.int32, "TIFF", (0x12, 255, 0, 0x80)),
    "float": lambda: wide((12, 300, -4, 128), np.float32, "TIFF", (12, 255, 0, 128)),
    "CMYK, TIFF": lambda: Case(encoded(drawn(INKS, "CMYK"), "TIFF"), PRINTED, 1),
    "CMYK, JPEG": lambda: Case(encoded(drawn(INKS, "CMYK"), "JPEG", quality=95), PRINTED, LOSSY),
    "YCCK, JPEG": lambda: Case(ycck(), PRINTED, LOSSY),
    "1 bit": bits,
    "L, PNG": lambda: Case(encoded(drawn(((7,), (99,), (180,), (255,))), "PNG"),
                           grey(7, 99, 180, 255)),
    "L, JPEG": lambda: Case(encoded(drawn(((7,), (99,), (180,), (255,))), "JPEG"),
                            grey(7, 99, 180, 255), LOSSY),
    "animated GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP", lossless=True),
    "animated PNG": lambda: animated("PNG"),
    "PNG with a profile": lambda: Case(
        encoded(drawn(PICTURE), "PNG", icc_profile=profile()), PICTURE
    ),
    "JPEG with a profile": lambda: jpeg(icc_profile=profile()),
    "JPEG, progressive": lambda: jpeg(progressive=True),
    "JPEG, 4:2:0": lambda: jpeg(subsampling="4:2:0"),
    "JPEG, 4:4:4": lambda: jpeg(subsampling="4:4:4"),
    "BMP": lambda: Case(encoded(drawn(PICTURE), "BMP"), PICTURE),
    "WebP, lossless": lambda: Case(encoded(drawn(PICTURE), "WEBP", lossless=True), PICTURE),
}  # fmt: skip


def pixels_of(case: Case, tier: Tier) -> Pixels:
    return decode(case.body, GEOMETRY, RESIZE[tier])


def golden() -> dict[str, dict[str, str]]:
    stored: dict[str, dict[str, str]] = json.loads(GOLDEN.read_text())
    return stored


@pytest.mark.parametrize("tier", RESIZE)
@pytest.mark.parametrize("name", CASES)
def test_the_corners_have_the_colours_worked_out_by_hand(name: str, tier: Tier) -> None:
    case = CASES[name]()
    pixels = pixels_of(case, tier).astype(int)
    corners = [pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1]]
    assert np.abs(np.array(corners) - case.expected).max() <= case.tolerance


@pytest.mark.parametrize("tier", RESIZE)
@pytest.mark.parametrize("name", CASES)
def test_the_pixels_are_the_golden_ones(name: str, tier: Tier) -> None:
    case = CASES[name]()
    expected = np.frombuffer(bytes.fromhex(golden()[name][tier]), np.uint8)
    moved = LOSSY if case.tolerance == LOSSY else int(tier is Tier.FAST)
    pixels = pixels_of(case, tier).astype(int)
    assert np.abs(pixels.ravel() - expected).max() <= moved


def test_every_golden_entry_has_its_case() -> None:
    assert set(golden()) == set(CASES)


if __name__ == "__main__":
    found = {
        name: {tier: pixels_of(make(), tier).tobytes().hex() for tier in RESIZE}
        for name, make in CASES.items()
    }
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
