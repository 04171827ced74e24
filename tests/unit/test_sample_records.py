"""The sample records are what they say, and the same at every writing."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from clip_scoring.records import Reason
from clip_scoring.sample.records import SampleKind, SampleRecord, write_manifest, write_sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def records(folder: Path) -> list[SampleRecord]:
    return write_sample(folder)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def bad(records: list[SampleRecord], reason: Reason) -> list[SampleRecord]:
    return [record for record in records if record.expected_reason == reason]


def test_there_are_200_matched_20_mismatched_and_20_bad_records(
    records: list[SampleRecord],
) -> None:
    assert Counter(record.kind for record in records) == {
        SampleKind.MATCHED: 200,
        SampleKind.MISMATCHED: 20,
        SampleKind.BAD: 20,
    }
    assert [record.key for record in records] == list(range(1, 241))


def test_each_of_three_days_has_80_records_in_the_order_of_their_keys(
    records: list[SampleRecord],
) -> None:
    times = [record.created_at for record in records]
    assert Counter(time.date() for time in times) == {date(2026, 1, day): 80 for day in (1, 2, 3)}
    assert times == sorted(set(times))
    assert times[0] == datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


def test_bad_and_mismatched_records_are_spread_over_the_days(records: list[SampleRecord]) -> None:
    for kind in (SampleKind.MISMATCHED, SampleKind.BAD):
        days = Counter(record.created_at.day for record in records if record.kind is kind)
        assert sorted(days.values()) == [6, 7, 7]


def test_the_bad_records_cover_eleven_reasons(records: list[SampleRecord]) -> None:
    assert Counter(record.expected_reason for record in records if record.expected_reason) == {
        Reason.URI_FORBIDDEN: 6,
        Reason.IMAGE_UNDECODABLE: 5,
        Reason.URI_INVALID: 1,
        Reason.OBJECT_NOT_FOUND: 1,
        Reason.IMAGE_BAD_DIMENSIONS: 1,
        Reason.IMAGE_TOO_MANY_PIXELS: 1,
        Reason.IMAGE_TOO_LARGE: 1,
        Reason.IMAGE_FORMAT_FORBIDDEN: 1,
        Reason.CAPTION_EMPTY: 1,
        Reason.CAPTION_INVALID: 1,
        Reason.CAPTION_TOO_LONG: 1,
    }


def test_writing_again_gives_the_same_records_and_bytes(
    folder: Path, records: list[SampleRecord], tmp_path: Path
) -> None:
    before = digests(folder)
    assert write_sample(folder) == records
    assert write_sample(tmp_path) == records
    assert digests(folder) == before == digests(tmp_path)


def test_the_good_images_open_and_weigh_under_3_megabytes(
    folder: Path, records: list[SampleRecord]
) -> None:
    paths = [folder / record.image_uri for record in records if record.kind is not SampleKind.BAD]
    formats, sides = set(), set()
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            formats.add(picture.format)
            sides.add(max(picture.size))
    assert formats == {"JPEG", "PNG", "WEBP"}
    assert (min(sides), max(sides)) == (64, 1024)
    assert sum(path.stat().st_size for path in paths) < 3_000_000


def test_undecodable_images_fail_in_pillow(folder: Path, records: list[SampleRecord]) -> None:
    for record in bad(records, Reason.IMAGE_UNDECODABLE):
        content = (folder / record.image_uri).open("rb")
        with content, pytest.raises((UnidentifiedImageError, OSError, SyntaxError)):
            Image.open(content).load()


def test_the_huge_image_is_a_small_file_of_64_megapixels(
    folder: Path, records: list[SampleRecord]
) -> None:
    (record,) = bad(records, Reason.IMAGE_TOO_MANY_PIXELS)
    path = folder / record.image_uri
    assert path.stat().st_size < 100_000
    with warnings.catch_warnings(), Image.open(path) as picture:
        assert picture.width * picture.height == 64_000_000


def test_the_thin_image_is_one_pixel_wide(folder: Path, records: list[SampleRecord]) -> None:
    (record,) = bad(records, Reason.IMAGE_BAD_DIMENSIONS)
    with Image.open(folder / record.image_uri) as picture:
        assert picture.size == (1, 5000)


def test_the_large_file_is_over_20_megabytes(folder: Path, records: list[SampleRecord]) -> None:
    (record,) = bad(records, Reason.IMAGE_TOO_LARGE)
    assert (folder / record.image_uri).stat().st_size > 20 * 1024 * 1024


def test_bad_captions_are_empty_invalid_or_over_16_kibibytes(records: list[SampleRecord]) -> None:
    (empty,) = bad(records, Reason.CAPTION_EMPTY)
    (invalid,) = bad(records, Reason.CAPTION_INVALID)
    (long,) = bad(records, Reason.CAPTION_TOO_LONG)
    assert not empty.caption.strip()
    assert "\ufffe" in invalid.caption
    assert len(long.caption.encode()) > 16 * 1024
    assert not any("\0" in record.caption for record in records)


def test_one_bad_image_is_a_link_out_of_the_folder(
    folder: Path, records: list[SampleRecord]
) -> None:
    links = [record for record in records if (folder / record.image_uri).is_symlink()]
    assert [link.expected_reason for link in links] == [Reason.URI_FORBIDDEN]
    assert not (folder / links[0].image_uri).resolve().is_relative_to(folder.resolve())


def test_the_manifest_holds_the_fields_of_every_record(
    records: list[SampleRecord], tmp_path: Path
) -> None:
    rows = json.loads(write_manifest(tmp_path, records).read_text())
    read = [
        SampleRecord(
            **{
                **row,
                "created_at": datetime.fromisoformat(row["created_at"]),
                "kind": SampleKind(row["kind"]),
            }
        )
        for row in rows
    ]
    assert read == records
