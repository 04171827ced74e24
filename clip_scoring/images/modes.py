"""Every mode, orientation and transparency that an image can have, brought to upright RGB."""

from __future__ import annotations

import struct

import numpy as np
from PIL import ExifTags, Image, ImageOps

_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_TURNED = range(2, 9)
_LYING = range(5, 9)
_UNREADABLE_EXIF = (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error)


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data says; EXIF data that cannot be read turns nothing."""
    try:
        if _orientation(image) in _TURNED:
            return ImageOps.exif_transpose(image)
    except _UNREADABLE_EXIF:
        pass
    return image


def is_turned(image: Image.Image) -> bool:
    """Whether `upright` will change anything; decodes nothing of a JPEG."""
    try:
        return _orientation(image) in _TURNED
    except _UNREADABLE_EXIF:
        return False


def lies_on_its_side(image: Image.Image) -> bool:
    """Whether `upright` will swap width and height; decodes nothing of a JPEG."""
    try:
        return _orientation(image) in _LYING
    except _UNREADABLE_EXIF:
        return False


def _orientation(image: Image.Image) -> object:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def rgb(image: Image.Image) -> Image.Image:
    """The image in RGB: transparency over white, 16 bit by its upper byte, floats clipped to 8."""
    if image.mode in _SIXTEEN_BIT:
        wide = np.asarray(image)
        return Image.fromarray((np.clip(wide, 0, 0xFFFF) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
