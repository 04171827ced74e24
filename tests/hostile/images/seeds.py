"""Good images in every format and mode that is allowed, small, made here."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_WIDTH, _HEIGHT = 48, 40


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Coarse and fine detail, by seed."""
    chance = np.random.default_rng(seed)
    cells = Image.fromarray(chance.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    coarse = np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC), float)
    fine = chance.normal(0, 8, (height, width, 3))
    return Image.fromarray((coarse + fine).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    """Encoded images by a name that begins with the format."""
    return {**_jpegs(), **_pngs(), **_webps(), **_gifs(), **_bmps(), **_tiffs()}


def _picture(mode: str = "RGB", seed: int = 1) -> Image.Image:
    return photograph(_WIDTH, _HEIGHT, seed).convert(mode)


def _transparent() -> Image.Image:
    image = _picture("RGBA")
    image.putalpha(_picture("L", 2))
    return image


def _levels(dtype: type, times: int) -> Image.Image:
    return Image.fromarray(np.asarray(_picture("L")).astype(dtype) * dtype(times))


def _frames() -> dict[str, object]:
    return {"save_all": True, "append_images": [_picture(seed=seed) for seed in (2, 3)]}


def _jpegs() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    return {
        "JPEG": encoded(_picture(), "JPEG", quality=85),
        "JPEG grey": encoded(_picture("L"), "JPEG"),
        "JPEG cmyk": encoded(_picture("CMYK"), "JPEG"),
        "JPEG progressive": encoded(_picture(), "JPEG", progressive=True),
        "JPEG turned": encoded(_picture(), "JPEG", exif=exif, subsampling=0),
        "JPEG restarts": encoded(_picture(), "JPEG", restart_marker_blocks=2),
        "JPEG large": encoded(photograph(900, 700, 4), "JPEG", quality=70),
    }


def _pngs() -> dict[str, bytes]:
    return {
        "PNG": encoded(_picture(), "PNG"),
        "PNG transparent": encoded(_transparent(), "PNG"),
        "PNG palette": encoded(_picture("P"), "PNG", transparency=bytes(range(200))),
        "PNG 16 bit": encoded(_levels(np.uint16, 257), "PNG"),
        "PNG 1 bit": encoded(_picture("1"), "PNG"),
        "PNG grey": encoded(_transparent().convert("LA"), "PNG"),
        "PNG animated": encoded(_picture(), "PNG", **_frames()),
    }


def _webps() -> dict[str, bytes]:
    return {
        "WEBP": encoded(_picture(), "WEBP"),
        "WEBP lossless": encoded(_transparent(), "WEBP", lossless=True),
        "WEBP transparent": encoded(_transparent(), "WEBP"),
        "WEBP animated": encoded(_picture(), "WEBP", **_frames()),
    }


def _gifs() -> dict[str, bytes]:
    return {
        "GIF": encoded(_picture(), "GIF"),
        "GIF transparent": encoded(_picture("P"), "GIF", transparency=5),
        "GIF animated": encoded(_picture(), "GIF", **_frames()),
    }


def _bmps() -> dict[str, bytes]:
    return {
        "BMP": encoded(_picture(), "BMP"),
        "BMP palette": encoded(_picture("P"), "BMP"),
        "BMP 1 bit": encoded(_picture("1"), "BMP"),
    }


def _tiffs() -> dict[str, bytes]:
    return {
        "TIFF": encoded(_picture(), "TIFF"),
        "TIFF lzw": encoded(_transparent(), "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encoded(_picture("P"), "TIFF", compression="tiff_adobe_deflate"),
        "TIFF jpeg": encoded(_picture(), "TIFF", compression="jpeg"),
        "TIFF packbits": encoded(_picture("L"), "TIFF", compression="packbits"),
        "TIFF fax": encoded(_picture("1"), "TIFF", compression="group4"),
        "TIFF float": encoded(_levels(np.float32, 1), "TIFF"),
        "TIFF 32 bit": encoded(_levels(np.int32, 200), "TIFF"),
        "TIFF cmyk": encoded(_picture("CMYK"), "TIFF", compression="tiff_lzw"),
        "TIFF pages": encoded(_picture(), "TIFF", **_frames()),
    }
