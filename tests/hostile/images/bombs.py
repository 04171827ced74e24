"""Files that are small and would be large, slow or endless for a decoder without limits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

from tests.hostile.images.seeds import encoded, photograph

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZEROS = 80_000_000


def bomb(chance: Random) -> bytes:
    """One of all kinds."""
    return chance.choice(_BOMBS)(chance)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join((_SIGNATURE, png_chunk(b"IHDR", header), *chunks, png_chunk(b"IEND", b"")))


@cache
def _deflated(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def _many_pixels(chance: Random) -> bytes:
    """Over the limit by anything from a little to all that the header can say."""
    width, height = chance.choice([(7100, 7100), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
    return _png(width, height, 8, 2, png_chunk(b"IDAT", _deflated(1000)))


def _just_allowed(chance: Random) -> bytes:
    """Almost 50 million pixels in few bytes, some with their last rows missing."""
    rows = 1250 * chance.choice([5000, 4999, 10])
    return _png(9992, 5000, 1, 0, png_chunk(b"IDAT", _deflated(rows + 5000)))


def _exploding_text(chance: Random) -> bytes:
    kind, head = chance.choice([(b"zTXt", b"Comment\x00\x00"), (b"iCCP", b"profile\x00\x00"),
                                (b"iTXt", b"Comment\x00\x01\x00\x00\x00")])  # fmt: skip
    text = png_chunk(kind, head + _deflated(_ZEROS))
    image = png_chunk(b"IDAT", zlib.compress(b"\x00\x07"))
    return _png(1, 1, 8, 0, *[text] * chance.choice([1, 3]), image)


def _many_chunks(chance: Random) -> bytes:
    filler = png_chunk(chance.choice([b"tEXt", b"tIME", b"abCd"]), b"a\x00b") * 20_000
    return _png(1, 1, 8, 0, filler, png_chunk(b"IDAT", zlib.compress(b"\x00\x07")))


def _narrow(chance: Random) -> bytes:
    width, height = chance.choice([(1, 100_000), (100_000, 1), (1, 51), (3, 5000)])
    return _png(width, height, 8, 0, png_chunk(b"IDAT", _deflated((width + 1) * height)))


def _many_frames(_chance: Random) -> bytes:
    frame = b"\x2c" + struct.pack("<4H", 0, 0, 1, 1) + b"\x00\x02\x02\x4c\x01\x00"
    head = b"GIF89a" + struct.pack("<2H", 1, 1) + b"\x80\x00\x00" + bytes(6)
    return head + frame * 10_000 + b";"


def _large_screen(chance: Random) -> bytes:
    """A GIF of one pixel on a canvas of up to four billion."""
    size = chance.choice([7000, 20_000, 65_535])
    frame = b"\x2c" + struct.pack("<4H", size - 1, size - 1, 1, 1) + b"\x00\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<2H", size, size) + b"\x80\x00\x00" + bytes(6) + frame + b";"


def _large_jpeg(chance: Random) -> bytes:
    """A JPEG whose header promises far more than its scan has."""
    body = bytearray(encoded(photograph(48, 40, 5), "JPEG", progressive=chance.random() < 0.5))
    start = max(body.find(b"\xff\xc0"), body.find(b"\xff\xc2"))
    struct.pack_into(">HH", body, start + 5, *chance.choice([(65_500, 65_500), (7000, 7000)]))
    return bytes(body)


def _many_scans(_chance: Random) -> bytes:
    """A progressive JPEG that refines itself thousands of times."""
    body = encoded(photograph(400, 300, 6), "JPEG", progressive=True)
    last = body.rindex(b"\xff\xda")
    return body[:last] + body[last:-2] * 1000 + body[-2:]


def _tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A TIFF with one directory of (tag, type, count, value)."""
    table = b"".join(struct.pack("<HHII", *each) for each in entries)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + table + struct.pack("<I", following) + bytes(200)


def _silly_tags(chance: Random) -> bytes:
    """Directories that point to themselves, strips that are not there, samples without end."""
    usual = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
             (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]  # fmt: skip
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(usual))
        tag, kind, count, value = usual[at]
        odd = chance.choice([0, 1, 0xFFFF, 2**31, 2**32 - 1, 50_000])
        usual[at] = chance.choice(
            [(tag, kind, odd, value), (tag, kind, count, odd), (tag, odd & 0xFFFF, count, value)]
        )
    return _tiff(*usual, following=chance.choice([0, 8, 2**32 - 1]))


def _large_bmp(chance: Random) -> bytes:
    body = bytearray(encoded(photograph(8, 8, 7), "BMP"))
    struct.pack_into("<ii", body, 18, *chance.choice([(7000, 7000), (2**31 - 1, -(2**31)), (9, 0)]))
    return bytes(body)


_BOMBS: tuple[Callable[[Random], bytes], ...] = (
    _many_pixels, _just_allowed, _exploding_text, _many_chunks, _narrow, _many_frames,
    _large_screen, _large_jpeg, _many_scans, _silly_tags, _silly_tags, _large_bmp,
)  # fmt: skip
