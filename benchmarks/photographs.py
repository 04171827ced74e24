"""Pictures with the statistics of photographs, and captions, made anew from a seed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import ExifTags, Image, ImageDraw

QUALITY = 90
_COARSEST = 8
_ROUGHNESS = 0.68
"""By how much detail fades from one size to the next finer one: about 1/f, as in photographs."""
_FAINTEST = 3.0
_SHAPES = 14
_WORDS = (
    "a", "the", "of", "and", "on", "with", "near", "under", "left", "right", "top", "bottom",
    "photo", "picture", "drawing", "red", "blue", "green", "yellow", "dark", "bright", "large",
    "small", "circle", "square", "star", "heart", "ring", "triangle", "background", "dog",
    "street", "harbour", "Sunday",
)  # fmt: skip
"""Most are one token each, as common words are for CLIP; the last four are several."""


def photograph(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """An RGB picture: clouds of every size down to the grain of a sensor, and hard edges."""
    edges = [_COARSEST]
    while edges[-1] < max(width, height):
        edges.append(2 * edges[-1])
    scale = [each / edges[-1] for each in edges]
    picture = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    detail = 60.0
    for each in scale[:-1]:
        size = (max(2, round(width * each)), max(2, round(height * each)))
        picture = _rougher(picture.resize(size, Image.Resampling.BICUBIC), detail, random)
        detail = max(detail * _ROUGHNESS, _FAINTEST)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    _draw_shapes(picture, random)
    return _rougher(picture, _FAINTEST, random)


def _rougher(picture: Image.Image, detail: float, random: np.random.Generator) -> Image.Image:
    """Noise up to `detail` levels, more of it in brightness than in colour."""
    pixels = np.asarray(picture, dtype=np.int16)
    most = max(1, round(detail))
    bright = random.integers(-most, most + 1, (*pixels.shape[:2], 1), dtype=np.int16)
    colour = random.integers(-most, most + 1, pixels.shape, dtype=np.int16) // 3
    return Image.fromarray(np.clip(pixels + bright + colour, 0, 255).astype(np.uint8))


def _draw_shapes(picture: Image.Image, random: np.random.Generator) -> None:
    brush = ImageDraw.Draw(picture, "RGBA")
    for _ in range(_SHAPES):
        corners = random.uniform(0, 1, (int(random.integers(3, 6)), 2)) * 0.4
        corners = (corners + random.uniform(-0.1, 0.7, 2)) * picture.size
        colour = tuple(map(int, random.integers(0, 256, 3)))
        brush.polygon([(float(x), float(y)) for x, y in corners], fill=(*colour, 150))


def words(random: np.random.Generator, fewest: int, most: int) -> str:
    """A caption of so many words."""
    return " ".join(random.choice(_WORDS, int(random.integers(fewest, most + 1))))


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The file; a JPEG as cameras and web sites have it: quality 90, colour at half resolution."""
    stream = io.BytesIO()
    usual = {"quality": QUALITY, "subsampling": "4:2:0"} if kind == "JPEG" else {}
    picture.save(stream, kind, **{**usual, **options})
    return stream.getvalue()


Encode = Callable[[Image.Image], bytes]


def _turned(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(picture, exif=exif)


def _see_through(picture: Image.Image) -> bytes:
    across = np.linspace(0, 255, picture.width).astype(np.uint8)
    fading = Image.fromarray(np.broadcast_to(across, picture.size[::-1]).copy())
    over = picture.copy()
    over.putalpha(fading)
    return encoded(over, "PNG", compress_level=1)


def _few_colours(picture: Image.Image) -> Image.Image:
    return picture.quantize(64, method=Image.Quantize.FASTOCTREE)


def _deep(picture: Image.Image) -> bytes:
    grey = np.asarray(picture.convert("L")).astype(np.uint16)
    return encoded(Image.fromarray(grey * 256 + grey), "PNG", compress_level=1)


MODES: Mapping[str, Encode] = {
    "png": lambda picture: encoded(picture, "PNG"),
    "webp": lambda picture: encoded(picture, "WEBP", quality=QUALITY, method=0),
    "grey jpeg": lambda picture: encoded(picture.convert("L")),
    "cmyk jpeg": lambda picture: encoded(picture.convert("CMYK"), subsampling=-1),
    "palette png": lambda picture: encoded(_few_colours(picture), "PNG"),
    "palette gif": lambda picture: encoded(_few_colours(picture), "GIF"),
    "turned jpeg": _turned,
    "see-through png": _see_through,
    "16-bit png": _deep,
}
"""Files in the modes and formats that are found besides plain JPEGs."""
