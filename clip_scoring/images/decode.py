"""From bytes to the pixels that the reference processor would make of them."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.refusal import Refused
from clip_scoring.ports import Pixels
from clip_scoring.records import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
MAX_ASPECT = 50
_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})


def decode(body: bytes, geometry: Geometry) -> Pixels:
    """Pixels of one image, uint8 RGB of `geometry.shape`; raises Refused with the reason.

    EXIF orientation is applied first, transparency is composited on white, of an animation the
    first frame counts, 16-bit channels keep their upper byte.
    """
    try:
        return _cropped(_resized(_opened(body), geometry), geometry)
    except Refused:
        raise
    except MemoryError as too_much:
        raise Refused(Reason.IMAGE_UNDECODABLE, "not enough memory") from too_much
    except Exception as broken:  # Pillow's plug-ins raise a dozen types
        raise Refused(Reason.IMAGE_UNDECODABLE, type(broken).__name__) from broken


def _opened(body: bytes) -> Image.Image:
    if not body:
        raise Refused(Reason.IMAGE_UNDECODABLE, "zero bytes")
    try:
        image = Image.open(io.BytesIO(body), formats=FORMATS)
    except UnidentifiedImageError as unknown:
        raise _unidentified(body) from unknown
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        raise Refused(Reason.IMAGE_TOO_MANY_PIXELS, "far over the limit") from bomb
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Refused(Reason.IMAGE_TOO_MANY_PIXELS, f"{width}x{height}, limit {MAX_PIXELS}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Refused(Reason.IMAGE_BAD_DIMENSIONS, f"{width}x{height}, ratio over {MAX_ASPECT}")
    image.load()
    return rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data says; EXIF data that cannot be read turns nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return image


_FOREIGN_MAGIC = (
    (b"%!PS", "PostScript"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00", "CUR"),
    (b"P1", "PBM"),
    (b"P2", "PGM"),
    (b"P3", "PPM"),
    (b"P4", "PBM"),
    (b"P5", "PGM"),
    (b"P6", "PPM"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"icns", "ICNS"),
    (b"qoif", "QOI"),
)


def _unidentified(body: bytes) -> Refused:
    """Another image format is forbidden; anything else is no image."""
    for magic, name in _FOREIGN_MAGIC:
        if body.startswith(magic):
            return Refused(Reason.IMAGE_FORMAT_FORBIDDEN, name)
    if body[4:8] == b"ftyp" and body[8:12] in {b"avif", b"avis", b"heic", b"heix", b"mif1"}:
        return Refused(Reason.IMAGE_FORMAT_FORBIDDEN, body[8:12].decode())
    return Refused(Reason.IMAGE_UNDECODABLE, "not an image, or damaged at its beginning")


def rgb(image: Image.Image) -> Image.Image:
    """The image in RGB: transparency over white, 16 bit by its upper byte, floats clipped to 8."""
    if image.mode in _SIXTEEN_BIT:
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip(wide >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


def _resized(image: Image.Image, geometry: Geometry) -> Image.Image:
    width, height = geometry.width, geometry.height
    if geometry.fit is Fit.SHORTEST_EDGE:
        edge = geometry.height
        if image.width <= image.height:
            width, height = edge, int(edge * image.height / image.width)
        else:
            width, height = int(edge * image.width / image.height), edge
    return image.resize((width, height), resample=Image.Resampling(geometry.resample))


def _cropped(image: Image.Image, geometry: Geometry) -> Pixels:
    pixels: Pixels = np.asarray(image, dtype=np.uint8)
    if geometry.crop is None:
        return np.ascontiguousarray(pixels)
    height, width = geometry.crop
    top = (pixels.shape[0] - height) // 2
    left = (pixels.shape[1] - width) // 2
    if top >= 0 and left >= 0:
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])
    return _padded_crop(pixels, height, width)


def _padded_crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """The centre crop of an image that is smaller than the crop: black around it."""
    tall, wide = max(height, pixels.shape[0]), max(width, pixels.shape[1])
    canvas = np.zeros((tall, wide, 3), dtype=np.uint8)
    top = -(-(tall - pixels.shape[0]) // 2)
    left = -(-(wide - pixels.shape[1]) // 2)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    top, left = (tall - height) // 2, (wide - width) // 2
    return np.ascontiguousarray(canvas[top : top + height, left : left + width])
