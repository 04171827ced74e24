"""Malformed images without end, the same ones for the same seed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from tests.hostile.images.bombs import bomb, png_chunk
from tests.hostile.images.seeds import seeds

Mutation: TypeAlias = Callable[[bytes, Random], bytes]
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_HEADER = 120


@dataclass(frozen=True, slots=True)
class Malformed:
    """A body with what it was made from and how."""

    seed: str
    mutation: str
    body: bytes


def malformed(seed: int) -> Iterator[Malformed]:
    """Mutations of the good images, and bombs, drawn at random; some may still be good."""
    chance, good = Random(seed), seeds()
    names = sorted(good)
    while True:
        name, mutation = chance.choice(names), chance.choice(list(MUTATIONS))
        if mutation == "spliced":
            other = good[chance.choice(names)]
            body = _spliced(good[name], other, chance)
        else:
            body = MUTATIONS[mutation](good[name], chance)
        yield Malformed(name, mutation, body)


def _truncated(body: bytes, chance: Random) -> bytes:
    return body[: len(body) * chance.randrange(0, 100, 5) // 100]


def _bits_flipped(body: bytes, chance: Random) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.choice([1, 2, 8, 64])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _header_edited(body: bytes, chance: Random) -> bytes:
    """Fields of one, two or four bytes near the beginning set to values at the edge."""
    changed = bytearray(body)
    for _ in range(chance.choice([1, 1, 2, 4])):
        form, size = chance.choice([("B", 1), (">H", 2), ("<H", 2), (">I", 4), ("<I", 4)])
        at = chance.randrange(min(_HEADER, len(body) - size))
        struct.pack_into(form, changed, at, chance.choice(_EXTREMES) % 256**size)
    return _with_valid_checks(bytes(changed)) if chance.random() < 0.7 else bytes(changed)


def _piece_removed(body: bytes, chance: Random) -> bytes:
    pieces = _pieces(body)
    del pieces[chance.randrange(len(pieces))]
    return b"".join(pieces)


def _piece_doubled(body: bytes, chance: Random) -> bytes:
    pieces = _pieces(body)
    at = chance.randrange(len(pieces))
    pieces[at] *= chance.choice([2, 2, 100])
    return b"".join(pieces)


def _pieces_reordered(body: bytes, chance: Random) -> bytes:
    first, *others = _pieces(body)
    chance.shuffle(others)
    return b"".join([first, *others])


def _spliced(body: bytes, other: bytes, chance: Random) -> bytes:
    return body[: chance.randrange(len(body))] + other[chance.randrange(len(other)) :]


def _garbage_appended(body: bytes, chance: Random) -> bytes:
    return body + chance.randbytes(chance.choice([1, 100, 10_000]))


def _garbage_inserted(body: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(body))
    return body[:at] + chance.randbytes(chance.choice([1, 4, 1000])) + body[at:]


def _bomb(_body: bytes, chance: Random) -> bytes:
    return bomb(chance)


MUTATIONS: dict[str, Mutation] = {
    "truncated": _truncated,
    "bits flipped": _bits_flipped,
    "header edited": _header_edited,
    "piece removed": _piece_removed,
    "piece doubled": _piece_doubled,
    "pieces reordered": _pieces_reordered,
    "spliced": lambda body, _chance: body,
    "garbage appended": _garbage_appended,
    "garbage inserted": _garbage_inserted,
    "bomb": _bomb,
}


def _pieces(body: bytes) -> list[bytes]:
    """The signature and the chunks or segments of a body; elsewhere eighths of it."""
    if body.startswith(b"\x89PNG"):
        return [body[:8], *_cut(body, 8, lambda at: 12 + _number(">I", body, at))]
    if body.startswith(b"RIFF"):
        return [
            body[:12],
            *_cut(body, 12, lambda at: 8 + (_number("<I", body, at + 4) + 1) // 2 * 2),
        ]
    if body.startswith(b"\xff\xd8"):
        return [body[:2], *_cut(body, 2, lambda at: _segment(body, at))]
    step = max(1, len(body) // 8)
    return [body[at : at + step] for at in range(0, len(body), step)]


def _cut(body: bytes, at: int, length_at: Callable[[int], int]) -> Iterator[bytes]:
    while at < len(body):
        stop = at + length_at(at)
        yield body[at:stop]
        at = stop


def _number(form: str, body: bytes, at: int) -> int:
    field = body[at : at + 4].ljust(4, b"\x00")
    (value,) = struct.unpack_from(form, field)
    return int(value)


def _segment(body: bytes, at: int) -> int:
    """Length of the JPEG segment at `at`, of a scan with its data up to the next marker."""
    length = 2 + _number(">H", body, at + 2)
    if body[at : at + 2] != b"\xff\xda":
        return length
    stop = at + length
    while stop < len(body) - 1 and not (body[stop] == 0xFF and body[stop + 1] not in _IN_SCAN):
        stop += 1
    return stop - at


_IN_SCAN = {0x00, *range(0xD0, 0xD8)}


def _with_valid_checks(body: bytes) -> bytes:
    """A PNG with the checksums that its changed chunks need to be read at all."""
    if not body.startswith(b"\x89PNG"):
        return body
    chunks = [png_chunk(each[4:8], each[8:-4]) for each in _pieces(body)[1:]]
    return b"".join([body[:8], *chunks])
