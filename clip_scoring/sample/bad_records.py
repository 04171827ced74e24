"""The sample's bad records: each is bad in its own way and names the reason to be rejected for."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clip_scoring.records import CAPTION_LIMIT_BYTES, Reason
from clip_scoring.sample.files import write_padded

_FOLDER = "bad"
_CAPTION = "a red circle on a white background"
_OUTSIDE = Path("/etc/passwd")
_BIG_SIDE = 8000
_OVER_THE_LIMIT_BYTES = 21 * 1024 * 1024
_NOTES = b"Meeting notes\n\n- somebody renamed this file to .jpg\n"
_ERROR_PAGE = b"<!doctype html><html><title>404</title><h1>Not found</h1></html>\n"


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be scored, and the reason it is to be rejected for."""

    image_uri: str
    caption: str
    reason: Reason


def bad_records(folder: Path) -> list[BadRecord]:
    """Writes the files of the bad records below `folder` and returns the 20 records."""
    write_padded(folder / _FOLDER / "fine.jpg", _jpeg())
    return [*_bad_files(folder), *_bad_addresses(folder), *_bad_captions()]


def _bad_files(folder: Path) -> list[BadRecord]:
    jpeg, png = _jpeg(), _png(64, 64, bits=8)
    contents: dict[str, tuple[bytes, Reason]] = {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], Reason.IMAGE_UNDECODABLE),
        "notes.jpg": (_NOTES, Reason.IMAGE_UNDECODABLE),
        "empty.jpg": (b"", Reason.IMAGE_UNDECODABLE),
        "damaged.png": (_damaged(png), Reason.IMAGE_UNDECODABLE),
        "error-page.png": (_ERROR_PAGE, Reason.IMAGE_UNDECODABLE),
        "thin.png": (_png(1, 5000, bits=8), Reason.IMAGE_BAD_DIMENSIONS),
        "huge.png": (_png(_BIG_SIDE, _BIG_SIDE, bits=1), Reason.IMAGE_TOO_MANY_PIXELS),
        "portable-pixmap.jpg": (_pixmap(), Reason.IMAGE_FORMAT_FORBIDDEN),
    }
    for name, (content, _) in contents.items():
        write_padded(folder / _FOLDER / name, content)
    write_padded(folder / _FOLDER / "padded.jpg", jpeg, padded_to=_OVER_THE_LIMIT_BYTES)
    return [
        *(
            BadRecord(f"{_FOLDER}/{name}", _CAPTION, reason)
            for name, (_, reason) in contents.items()
        ),
        BadRecord(f"{_FOLDER}/padded.jpg", _CAPTION, Reason.IMAGE_TOO_LARGE),
        BadRecord(f"{_FOLDER}/never-uploaded.jpg", _CAPTION, Reason.OBJECT_NOT_FOUND),
    ]


def _bad_addresses(folder: Path) -> list[BadRecord]:
    link = folder / _FOLDER / "leads-out.jpg"
    if not link.is_symlink():
        link.symlink_to(_OUTSIDE)
    forbidden = (
        "../../etc/passwd",
        "file:///etc/passwd",
        f"{_FOLDER}/leads-out.jpg",
        "http://127.0.0.1/picture.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "ftp://example.com/picture.jpg",
    )
    return [
        *(BadRecord(address, _CAPTION, Reason.URI_FORBIDDEN) for address in forbidden),
        BadRecord("http:///picture.jpg", _CAPTION, Reason.URI_INVALID),
    ]


def _bad_captions() -> list[BadRecord]:
    """Captions that cannot be scored.

    The invalid one has U+FFFE, a byte order mark read in the wrong order, rather than NUL, since
    PostgreSQL cannot store NUL: such a record could never reach the table.
    """
    captions = {
        " \t\n ": Reason.CAPTION_EMPTY,
        "\ufffea red circle": Reason.CAPTION_INVALID,
        "a red circle and " * (CAPTION_LIMIT_BYTES // 16): Reason.CAPTION_TOO_LONG,
    }
    return [
        BadRecord(f"{_FOLDER}/fine.jpg", caption, reason) for caption, reason in captions.items()
    ]


def _jpeg() -> bytes:
    picture = Image.radial_gradient("L").resize((160, 120)).convert("RGB")
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=90)
    return written.getvalue()


def _pixmap() -> bytes:
    return b"P6\n16 16\n255\n" + bytes([200, 30, 30]) * 256


def _png(width: int, height: int, *, bits: int) -> bytes:
    """A black greyscale PNG, packed row by row: 8000 x 8000 pixels never lie in memory."""
    row = b"\0" + bytes((width * bits + 7) // 8)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    packed = b"".join(_packed(row for _ in range(height)))
    chunks = [_chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _packed(rows: Iterable[bytes]) -> Iterable[bytes]:
    packer = zlib.compressobj(9)
    for row in rows:
        yield packer.compress(row)
    yield packer.flush()


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def _damaged(png: bytes) -> bytes:
    """`png` with some of its packed pixels overwritten."""
    start = png.index(b"IDAT") + 6
    return png[:start] + b"\xff" * 8 + png[start + 8 :]
