"""The sample: 240 image-caption pairs for the demo, most of them good, some bad on purpose."""

from __future__ import annotations

import io
import json
import random
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from clip_scoring.sample.bad_records import bad_records
from clip_scoring.sample.drawing import render
from clip_scoring.sample.files import write_padded
from clip_scoring.sample.scene_captions import caption_of
from clip_scoring.sample.scenes import Pattern, Scene, random_scene

DAYS, RECORDS_PER_DAY = 3, 80
MISMATCHED, BAD = 20, 20
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SEED = 20260101
"""Neither a seed of the training nor one of the evaluation."""
MANIFEST = "records.json"

_IMAGES = "images"
_LONGER_SIDES: dict[str, tuple[int, ...]] = {
    # Lossless noise would make the sample heavy, so PNGs are small.
    "png": (64, 96, 128, 160),
    "jpeg": (64, 128, 224, 256, 320, 400, 512, 640, 1024),
    "webp": (64, 128, 224, 256, 400, 512, 800, 1024),
}


class SampleKind(StrEnum):
    """The expected outcome of a sample record."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    BAD = "bad"


@dataclass(frozen=True)
class SampleRecord:
    """A record of the sample; `image_uri` is a path relative to the sample's folder, or an URI.

    `expected_reason` is the reason for which a bad record is to be rejected, else None.
    """

    key: int
    image_uri: str
    caption: str
    created_at: datetime
    kind: SampleKind
    expected_reason: str | None

    def __post_init__(self) -> None:
        if (self.kind is SampleKind.BAD) != (self.expected_reason is not None):
            raise ValueError(f"record {self.key}: a bad record, and no other, names its reason")


def write_sample(folder: Path, seed: int = SEED) -> list[SampleRecord]:
    """Writes the images below `folder` and returns the 240 records, in the order of their keys.

    The same seed gives the same bytes. One of the bad images is a symbolic link out of `folder`.
    """
    rng = random.Random(f"sample {seed}")
    kinds = [kind for day in range(DAYS) for kind in _kinds_of(day, rng)]
    bad = bad_records(folder)
    rng.shuffle(bad)
    records: list[SampleRecord] = []
    for key, kind in enumerate(kinds, start=1):
        if kind is SampleKind.BAD:
            wrong = bad.pop()
            address, caption, reason = wrong.image_uri, wrong.caption, wrong.reason.value
            records.append(SampleRecord(key, address, caption, created_at(key), kind, reason))
        else:
            records.append(_drawn_record(folder, key, kind, rng))
    return records


def write_manifest(folder: Path, records: list[SampleRecord]) -> Path:
    """Writes the fields of `records` to `records.json` in `folder` and returns its path."""
    rows = [{**asdict(record), "created_at": record.created_at.isoformat()} for record in records]
    path = folder / MANIFEST
    write_padded(path, (json.dumps(rows, indent=1) + "\n").encode("ascii"))
    return path


def created_at(key: int) -> datetime:
    """The time of a record: 80 a day, 18 minutes apart, the first at five past midnight UTC."""
    day, place = divmod(key - 1, RECORDS_PER_DAY)
    return FIRST_DAY + timedelta(days=day, minutes=5 + 18 * place)


def clearly_other(scene: Scene, rng: random.Random) -> Scene:
    """A scene with no kind and no colour in common with `scene`, not even behind the shapes."""
    kinds, colours = _kinds_and_colours(scene)
    while True:
        other = random_scene(rng)
        other_kinds, other_colours = _kinds_and_colours(other)
        if not (kinds & other_kinds or colours & other_colours):
            return other


def _kinds_and_colours(scene: Scene) -> tuple[set[str], set[str]]:
    kinds: set[str] = {shape.kind for shape in scene.shapes}
    return kinds, {scene.background, *(shape.colour for shape in scene.shapes)}


def _kinds_of(day: int, rng: random.Random) -> list[SampleKind]:
    """The kinds of one day's records, shuffled; each day has about its third of the odd ones."""
    mismatched, bad = (total // DAYS + (day < total % DAYS) for total in (MISMATCHED, BAD))
    kinds = [SampleKind.MISMATCHED] * mismatched + [SampleKind.BAD] * bad
    kinds += [SampleKind.MATCHED] * (RECORDS_PER_DAY - len(kinds))
    rng.shuffle(kinds)
    return kinds


def _drawn_record(folder: Path, key: int, kind: SampleKind, rng: random.Random) -> SampleRecord:
    scene = random_scene(rng)
    captioned = clearly_other(scene, rng) if kind is SampleKind.MISMATCHED else scene
    encoding = rng.choice(("jpeg", "jpeg", "webp", "png"))
    if encoding == "png" and scene.pattern is Pattern.NOISY:
        encoding = "webp"
    picture = render(scene, rng, longer_side=rng.choice(_LONGER_SIDES[encoding]))
    written = io.BytesIO()
    picture.save(written, encoding, quality=82)
    address = f"{_IMAGES}/{key:03}.{encoding.replace('jpeg', 'jpg')}"
    write_padded(folder / address, written.getvalue())
    return SampleRecord(key, address, caption_of(captioned, rng), created_at(key), kind, None)
