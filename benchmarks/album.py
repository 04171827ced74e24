"""Files of pictures with captions on disk, in named sets that every contestant works through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from benchmarks.photographs import MODES, encoded, photograph, words

SEED = 20
REPEATED = 0.3
FEWEST_WORDS, MOST_WORDS = 5, 20
DISTINCT = 256
"""So many pictures are made for a set; further files are copies of them with a number behind the
end of the image, so that they cost as much to read and decode and are not the same bytes."""
TINY, SMALL, MIDDLE, LARGE = (320, 240), (640, 480), (1024, 768), (2048, 1536)
_MIX = (
    ("jpeg", SMALL), ("jpeg", MIDDLE), ("png", SMALL), ("jpeg", SMALL),
    ("jpeg", LARGE), ("jpeg", SMALL), ("webp", SMALL), ("jpeg", MIDDLE),
)  # fmt: skip
"""Six of eight are JPEGs, most of the size that crawled images have."""
_KINDS: Mapping[str, Sequence[tuple[str, tuple[int, int]]]] = {
    "320x240": [("jpeg", TINY)],
    "640x480": [("jpeg", SMALL)],
    "2048x1536": [("jpeg", LARGE)],
    "mix": _MIX,
    "repeats": _MIX,
}
_INDEX = "sets.json"


@dataclass(frozen=True, slots=True)
class Pair:
    """An image file and a caption."""

    path: str
    caption: str


def write_album(folder: Path, counts: Mapping[str, int]) -> None:
    """So many pairs of each named set; no file and no caption occurs twice but in `repeats`."""
    sets = {name: list(_written(folder, name, count)) for name, count in counts.items()}
    if "repeats" in sets:
        sets["repeats"] = _with_repeats(sets["repeats"])
    tree = {name: [asdict(each) for each in pairs] for name, pairs in sets.items()}
    (folder / _INDEX).write_text(json.dumps(tree))


def read_album(folder: Path) -> dict[str, list[Pair]]:
    """The sets by name."""
    tree = json.loads((folder / _INDEX).read_text())
    return {name: [Pair(**each) for each in pairs] for name, pairs in tree.items()}


def _written(folder: Path, name: str, count: int) -> Iterator[Pair]:
    random = np.random.default_rng([SEED, *name.encode()])
    kinds = islice(cycle(_KINDS[name]), min(count, DISTINCT))
    files = [(_file(random, *each), each[0]) for each in kinds]
    for at in range(count):
        body, kind = files[at % len(files)]
        path = folder / f"{name}-{at}.{kind}"
        path.write_bytes(body + at.to_bytes(8) if count > DISTINCT else body)
        caption = f"{words(random, FEWEST_WORDS - 1, MOST_WORDS - 1)} {at}"
        yield Pair(str(path), caption)


def _file(random: np.random.Generator, kind: str, size: tuple[int, int]) -> bytes:
    picture = photograph(random, *size)
    return encoded(picture) if kind == "jpeg" else MODES[kind](picture)


def _with_repeats(pairs: Sequence[Pair]) -> list[Pair]:
    """The set with the share REPEATED of its images, and as many captions, seen before in it."""
    random = np.random.default_rng(SEED)
    paths = _repeated([each.path for each in pairs], random)
    captions = _repeated([each.caption for each in pairs], random)
    return [Pair(*each) for each in zip(paths, captions, strict=True)]


def _repeated(values: Sequence[str], random: np.random.Generator) -> list[str]:
    found = list(values)
    places = random.choice(len(found) - 1, round(REPEATED * len(found)), replace=False) + 1
    for place in sorted(places):
        found[place] = found[random.integers(place)]
    return found
