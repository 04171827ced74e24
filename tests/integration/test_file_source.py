"""Runs over pairs in files: keys, windows, bad rows, changes between planning and scoring."""

from __future__ import annotations

import io
import os
import tarfile
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine

from clip_scoring.errors import Interrupted, ObjectChanged, ObjectUnreadable
from clip_scoring.nightly.plan import plan as plan_run
from clip_scoring.nightly.run import open_run
from clip_scoring.runs import Rescore, Trigger, WindowKind
from clip_scoring.settings.environment import S3Access, Settings
from clip_scoring.settings.registrations import (
    BucketPlace,
    FileFormat,
    Registrations,
    SourceRegistration,
)
from clip_scoring.settings.run_options import RunOptions
from clip_scoring.sources.files import FileSource
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.s3 import S3Objects
from tests.support.world import World

_buckets = count(1)
TODAY = datetime.now(UTC).date()
SMALL = {"batch_size": 4, "shard_size": 8}


class FileWorld(World):
    """A world whose records lie in one local CSV file."""

    path: Path
    key: str | None = None

    @property
    def source(self) -> FileSource:  # type: ignore[override]
        rows = CsvRows("url", "caption", self.key)
        return FileSource(self.engine, "records", LocalFiles(self.path), rows)

    def write(self, *lines: str) -> None:
        self.path.write_text("\n".join(("id,url,caption", *lines)) + "\n")

    def rejections(self) -> list[tuple[object, ...]]:
        return self.sql("SELECT record_key, reason, detail FROM clip.rejection ORDER BY 1")


@pytest.fixture
def files(engine: Engine, tmp_path: Path) -> FileWorld:
    world = FileWorld(engine)
    world.path = tmp_path / "pairs.csv"
    return world


def lines(first: int, last: int) -> list[str]:
    return [f"id-{n},image {n},caption {n}" for n in range(first, last + 1)]


def test_bad_lines_become_rejections_with_their_number(files: FileWorld) -> None:
    files.write(*lines(1, 3), "id-4,image", '"id-5,image,caption', *lines(6, 9))
    summary = files.run("a", day=TODAY, **SMALL)
    assert (summary.planned, summary.scored, summary.rejected, summary.failures) == (9, 7, 2, ())
    assert files.rejections() == [
        ("4", "record_invalid", "line 5: 2 fields, header has 3"),
        ("5", "record_invalid", "line 6: unexpected end of data"),
    ]
    files.check_invariants()


def test_a_file_that_is_no_such_file_fails_planning_with_the_reason(files: FileWorld) -> None:
    files.path.write_text("a,b\n1,2\n")
    with pytest.raises(ObjectUnreadable, match=r"pairs.csv has no column 'url', only 'a', 'b'"):
        files.plan("a", day=TODAY)
    assert files.sql("SELECT count(*) FROM clip.run") == [(0,)]


def test_a_second_run_over_the_same_file_finds_nothing_and_reads_nothing(files: FileWorld) -> None:
    files.write(*lines(1, 10))
    files.run("a", day=TODAY, **SMALL)
    os.utime(files.path)  # another time, the same content
    assert files.run("b", day=TODAY).planned == 0
    assert files.sql("SELECT count(*) FROM clip.object") == [(1,)]


def test_a_file_that_changes_fails_its_shards_by_name_and_is_planned_anew(
    files: FileWorld,
) -> None:
    files.write(*lines(1, 20))
    first, *others = files.plan("a", day=TODAY, **SMALL).shards
    files.score(first.shard_id)
    files.write(*lines(1, 21))
    for shard in others:
        with pytest.raises(ObjectChanged, match=r"pairs.csv changed since planning"):
            files.score(shard.shard_id)
    assert files.judge("a").failures == (
        "shard 1: not finished, 8 pending", "shard 2: not finished, 4 pending"
    )  # fmt: skip
    again = files.run("b", day=TODAY, **SMALL)
    assert (again.planned, again.scored, again.failures) == (21, 21, ())
    files.check_invariants()
    assert files.sql("SELECT count(*), count(DISTINCT row_number) FROM clip.file_similarity") == [
        (21, 21)
    ]


def test_a_shard_goes_on_in_the_middle_of_a_file(files: FileWorld) -> None:
    files.write(*lines(1, 30))
    files.watch_offsets()
    (shard,) = files.plan("a", day=TODAY, batch_size=4, shard_size=30).shards
    asked = iter((False, False, False, True))
    with pytest.raises(Interrupted):
        files.score(shard.shard_id, stopping=lambda: next(asked))
    files.score(shard.shard_id)
    assert files.judge("a").scored == 30
    assert files.sql("SELECT record_key::int FROM clip.score ORDER BY 1") == [
        (n,) for n in range(1, 31)
    ]
    files.check_invariants()


def test_with_ids_only_what_changed_in_a_new_version_is_scored(files: FileWorld) -> None:
    files.key = "id"
    files.write(*lines(1, 20))
    assert files.run("a", day=TODAY, **SMALL).scored == 20
    files.write("new,image,caption", *lines(1, 9), "id-10,image 10,another", *lines(11, 19))
    again = files.run("b", day=TODAY, **SMALL)
    assert (again.planned, again.scored, again.failures) == (2, 2, ())
    assert files.sql("SELECT record_key FROM clip.score WHERE run_id = 2 ORDER BY 1") == [
        ("id-10",), ("new",)
    ]  # fmt: skip
    assert files.sql("SELECT count(*) FROM clip.file_similarity") == [(20,)]
    files.check_invariants()


def test_another_column_in_the_registration_makes_every_file_a_new_one(files: FileWorld) -> None:
    files.write(*lines(1, 5))
    assert files.run("a", day=TODAY).scored == 5
    files.key = "id"
    again = files.run("b", day=TODAY)
    assert (again.planned, again.scored, again.failures) == (5, 5, ())
    assert files.run("c", day=TODAY).planned == 0


def test_an_id_that_stands_twice_fails_planning_by_name(files: FileWorld) -> None:
    files.key = "id"
    files.write(*lines(1, 5), "id-2,image,caption")
    with pytest.raises(ObjectUnreadable, match="row 6 has the id of another row"):
        files.plan("a", day=TODAY)
    assert files.sql("SELECT count(*) FROM clip.object") == [(0,)]


def test_a_row_without_an_id_is_a_bad_row(files: FileWorld) -> None:
    files.key = "id"
    files.write(*lines(1, 2), ",image,caption", *lines(4, 5))
    assert files.run("a", day=TODAY).rejected == 1
    assert files.rejections() == [("#3", "record_invalid", "line 4: '' is not an id")]


def test_ids_keep_their_leading_zeros(files: FileWorld) -> None:
    files.key = "id"
    files.write("007,image,caption", "7,image,caption 2")
    files.run("a", day=TODAY)
    assert files.sql("SELECT record_key FROM clip.score ORDER BY 1") == [("007",), ("7",)]


def test_nul_and_lone_surrogates_cost_their_record_only(files: FileWorld) -> None:
    files.path.write_bytes(
        b"id,url,caption\n1,image,good\n2,image,a\x00b\n3,im\x00age,c\n4,image,\xed\xa0\x80\n5,i,c\n"
    )
    summary = files.run("a", day=TODAY)
    assert (summary.scored, summary.rejected, summary.failures) == (3, 2, ())
    assert [(key, reason) for key, reason, _ in files.rejections()] == [
        ("2", "caption_invalid"), ("4", "record_invalid")
    ]  # fmt: skip


class BucketWorld(World):
    """A world whose records lie in CSV objects, a folder for each day."""

    client: Any
    bucket: str

    @property
    def source(self) -> FileSource:  # type: ignore[override]
        store = S3Objects(self.client, self.bucket, "pairs/{date}/", (".csv",))
        return FileSource(self.engine, "records", store, CsvRows("url", "caption"))

    def put(self, day: date, name: str, first: int, last: int) -> None:
        body = "\n".join(("id,url,caption", *lines(first, last))).encode()
        self.client.put_object(Bucket=self.bucket, Key=f"pairs/{day}/{name}.csv", Body=body)


@pytest.fixture
def days(engine: Engine, s3_client: Any) -> BucketWorld:
    world = BucketWorld(engine)
    world.client, world.bucket = s3_client, f"files-{next(_buckets)}"
    s3_client.create_bucket(Bucket=world.bucket)
    for number in (1, 2, 3):
        world.put(date(2026, 1, number), "a", 10 * number, 10 * number + 4)
    return world


def test_a_backfill_takes_the_folder_of_its_day_and_a_nightly_run_the_rest(
    days: BucketWorld,
) -> None:
    second = date(2026, 1, 2)
    assert days.run("backfill", day=second, window=WindowKind.DAY).scored == 5
    assert days.run("night", day=second).scored == 5
    assert days.run("again", day=second).planned == 0
    assert days.run("next", day=date(2026, 1, 3)).scored == 5
    assert days.sql("SELECT count(*) FROM clip.score") == [(15,)]
    days.check_invariants()


def test_an_object_that_arrives_late_is_taken_by_the_next_night(days: BucketWorld) -> None:
    days.run("a", day=date(2026, 1, 3))
    days.put(date(2026, 1, 1), "late", 50, 52)
    assert days.run("b", day=date(2026, 1, 4)).scored == 3


def test_an_object_that_is_gone_is_not_pending_and_keeps_its_scores(days: BucketWorld) -> None:
    days.run("a", day=date(2026, 1, 2))
    days.client.delete_object(Bucket=days.bucket, Key="pairs/2026-01-03/a.csv")
    days.client.delete_object(Bucket=days.bucket, Key="pairs/2026-01-01/a.csv")
    assert days.run("b", day=date(2026, 1, 3)).planned == 0
    assert days.sql("SELECT count(*) FROM clip.score") == [(10,)]
    assert days.run("c", day=date(2026, 1, 3), rescore=Rescore.ALL).scored == 5


def test_an_object_that_is_deleted_before_its_shard_is_scored_fails_it_by_name(
    days: BucketWorld,
) -> None:
    (shard,) = days.plan("a", day=date(2026, 1, 1)).shards
    days.client.delete_object(Bucket=days.bucket, Key="pairs/2026-01-01/a.csv")
    with pytest.raises(ObjectChanged, match=r"s3://files-\d+/pairs/2026-01-01/a.csv is gone"):
        days.score(shard.shard_id)


def test_a_webdataset_in_a_bucket_is_scored_by_the_whole_product(
    world: World, database: str, s3_client: Any, s3_access: S3Access
) -> None:
    bucket = f"files-{next(_buckets)}"
    s3_client.create_bucket(Bucket=bucket)
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for number in range(6):
            pixels = io.BytesIO()
            Image.new("RGB", (40, 30), (40 * number, 0, 0)).save(pixels, "PNG")
            texts = {"png": pixels.getvalue(), "txt": f"a red square {number}".encode()}
            for kind, content in texts.items() if number != 4 else [("png", b"no image")]:
                member = tarfile.TarInfo(f"{number:06}.{kind}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    s3_client.put_object(Bucket=bucket, Key="2026-01-01/000.tar", Body=body.getvalue())
    place = BucketPlace(bucket, "{date}/", FileFormat.WEBDATASET)
    settings = Settings(
        Registrations({"tars": SourceRegistration("tars", place)}), database,
        s3_access=lambda connection: s3_access if connection == "clip_scoring_s3" else S3Access(),
    )  # fmt: skip
    options = RunOptions.of_params({"day": "2026-01-01", "source": "tars", "batch_size": 4})
    plan = plan_run(settings, options, run_key="tars", trigger=Trigger.CLI).plan
    with open_run(settings, run_key="tars") as run:
        for shard in plan.shards:
            run.score(shard.shard_id, weights=None)
        summary = run.finish()
    assert (summary.scored, summary.rejected, summary.failures) == (5, 1, ())
    assert world.sql("SELECT record_key, reason FROM clip.rejection") == [("5", "caption_empty")]
    assert world.sql("SELECT row_number::int FROM clip.file_similarity ORDER BY 1") == [
        (n,) for n in range(6)
    ]
    assert plan.planned == 6
