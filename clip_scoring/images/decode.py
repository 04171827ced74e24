"""From bytes to the pixels of one image, at the size of the tower."""

from __future__ import annotations

import io
from typing import Protocol

import numpy as np
from PIL import Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from clip_scoring.geometry import Geometry
from clip_scoring.images.decoder_process import BODY_LIMIT
from clip_scoring.images.modes import is_turned, lies_on_its_side, rgb, upright
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.ports import Pixels
from clip_scoring.records import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
PLUGINS = (TiffImagePlugin, WebPImagePlugin)
"""Imported here, or the first image would make Pillow import all of its forty."""
MAX_PIXELS = 50_000_000
MAX_ASPECT = 50
_DRAFT_MARGIN, _DRAFT_EDGE = 3, 448
"""A JPEG is decoded at so many times the target and no smaller than this: similarities then change
by less than 2e-4."""
_PLAIN_HEADER = 128 * 1024
"""Bytes before the pixels of a JPEG that is still plain: bounds what reading them takes."""
_END_OF_JPEG = b"\xff\xd9"


class Resize(Protocol):
    """Resizes as Pillow does, within two levels of each pixel, but faster."""

    kernels: frozenset[int]
    """Pillow's numbers of the kernels that it has."""

    def __call__(
        self,
        image: Image.Image,
        *,
        extent: tuple[float, float],
        size: tuple[int, int],
        window: tuple[int, int, int, int],
        kernel: int,
    ) -> Pixels:
        """An RGB image brought to `size` (height, width); of that only the window, in one piece.

        `extent` is how far the picture reaches into the image: decoded at a reduced scale, its
        last pixels may hold only a part of one. `window` is (top, left, bottom, right) and lies
        inside of `size`.
        """


def decode(body: bytes | memoryview, geometry: Geometry, resize: Resize | None = None) -> Pixels:
    """Pixels of one image, uint8 RGB of `geometry.shape`; raises ImageRejected with the reason.

    EXIF orientation is applied first, transparency is composited on white, of an animation the
    first frame counts, 16-bit channels keep their upper byte. Without `resize` the pixels are
    those of the reference processor (tier exact); with it a JPEG is decoded at a reduced scale
    and `resize` does the rest (tier fast).
    """
    try:
        image = _opened(body)
        if resize is None:
            return _cropped(_resized(_upright_rgb(image), geometry), geometry)
        return _fast(image, geometry, resize)
    except ImageRejected:
        raise
    except MemoryError as too_much:
        raise ImageRejected(Reason.IMAGE_UNDECODABLE, "not enough memory") from too_much
    except Exception as broken:  # Pillow's plug-ins raise a dozen types
        raise ImageRejected(Reason.IMAGE_UNDECODABLE, type(broken).__name__) from broken


def is_plain_jpeg(body: bytes) -> bool:
    """Whether any JPEG decoder makes the same picture of it, nothing being left to rules of ours.

    It has three colours as luminance and chrominance, no orientation, a size within the limits and
    its end. Reads the header only, in bounded time; never raises.
    """
    if len(body) > BODY_LIMIT or not body.endswith(_END_OF_JPEG):
        return False
    try:
        # Not Image.open: it warns of sizes that are judged here.
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(body[:_PLAIN_HEADER]))
        _require_caps(*image.size)
        return bool(image.tile) and _is_ycbcr(image) and not is_turned(image)
    except Exception:  # noqa: BLE001  # as in `decode`, which will give the reason
        return False


def _is_ycbcr(image: JpegImagePlugin.JpegImageFile) -> bool:
    """Whether all decoders agree that it is: by the usual numbers, and by Adobe's marker if any."""
    numbers = [component[0] for component in image.layer]
    return numbers == [1, 2, 3] and image.info.get("adobe_transform", 1) == 1


def _opened(body: bytes | memoryview) -> Image.Image:
    """The image with its header read and its size checked; no pixel is decoded yet."""
    if not body:
        raise ImageRejected(Reason.IMAGE_UNDECODABLE, "zero bytes")
    try:
        image = Image.open(io.BytesIO(body), formats=FORMATS)
    except UnidentifiedImageError as unknown:
        raise _unidentified(bytes(body[:16])) from unknown
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        raise ImageRejected(Reason.IMAGE_TOO_MANY_PIXELS, "far over the limit") from bomb
    _require_caps(*image.size)
    return image


def _require_caps(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageRejected(Reason.IMAGE_TOO_MANY_PIXELS, f"{width}x{height}, limit {MAX_PIXELS}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageRejected(
            Reason.IMAGE_BAD_DIMENSIONS, f"{width}x{height}, ratio over {MAX_ASPECT}"
        )


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


def _unidentified(head: bytes) -> ImageRejected:
    """Another image format is forbidden; anything else is not an image."""
    for magic, name in _FOREIGN_MAGIC:
        if head.startswith(magic):
            return ImageRejected(Reason.IMAGE_FORMAT_FORBIDDEN, name)
    if head[4:8] == b"ftyp" and head[8:12] in {b"avif", b"avis", b"heic", b"heix", b"mif1"}:
        return ImageRejected(Reason.IMAGE_FORMAT_FORBIDDEN, head[8:12].decode())
    return ImageRejected(Reason.IMAGE_UNDECODABLE, "not an image, or damaged at its beginning")


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    return rgb(upright(image))


def _fast(image: Image.Image, geometry: Geometry, resize: Resize) -> Pixels:
    if geometry.resample not in resize.kernels:  # no gain, and draft shifts what nearest picks
        return _cropped(_resized(_upright_rgb(image), geometry), geometry)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        across, down = _drafted(image, geometry)
        if lies_on_its_side(image):
            across, down = down, across
        image = _upright_rgb(image)
    else:
        image = _upright_rgb(image)
        across, down = [(edge, float(edge)) for edge in image.size]
    width, height = geometry.target(across[0], down[0])
    window = geometry.window(width, height)
    fits = min(window) >= 0
    pixels = resize(
        image,
        extent=(down[1], across[1]),
        size=(height, width),
        window=window if fits else (0, 0, height, width),
        kernel=geometry.resample,
    )
    return pixels if fits else _padded_crop(pixels, *geometry.shape[:2])


def _drafted(image: Image.Image, geometry: Geometry) -> tuple[tuple[int, float], tuple[int, float]]:
    """By axis, across and down: the stored length, and that of the picture in what gets decoded.

    A large JPEG will be decoded at a reduced scale. One that EXIF data turn is not, unless its
    edges are multiples of every scale: the part of a pixel would come to lie at its beginning.
    """
    width, height = image.size
    whole = (width, float(width)), (height, float(height))
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return whole
    if is_turned(image) and (width % 8 or height % 8):
        return whole
    lying = lies_on_its_side(image)
    wanted = geometry.target(*((height, width) if lying else (width, height)))
    needed = [max(_DRAFT_MARGIN * edge, _DRAFT_EDGE) for edge in wanted]
    across, down = needed[::-1] if lying else needed
    drafted = image.draft(image.mode, (across, down))
    if drafted is None:
        return whole
    _, (_, _, right, bottom) = drafted
    return (width, right), (height, bottom)


def _resized(image: Image.Image, geometry: Geometry) -> Image.Image:
    size = geometry.target(*image.size)
    return image.resize(size, resample=Image.Resampling(geometry.resample))


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
