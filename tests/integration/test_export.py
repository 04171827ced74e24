"""What finished runs left, as Parquet files in folders and buckets."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from botocore.stub import Stubber
from pyarrow import parquet

from clip_scoring.cli import main
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.errors import ObjectStoreUnavailable, RunNotFound, SettingsInvalid
from clip_scoring.exports.bucket import BucketExports
from clip_scoring.exports.outcomes import GroupSize, TableInputs, write_outcomes
from clip_scoring.exports.places import Exported, FolderExports
from clip_scoring.nightly.exports import export_run
from clip_scoring.settings.environment import S3Access, Settings
from clip_scoring.settings.registrations import (
    BucketPlace,
    ExportBucket,
    ExportFolder,
    ExportPlace,
    FileFormat,
    FilePlace,
    Registrations,
    SourceRegistration,
)
from clip_scoring.sources.files import FileSource
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.s3 import S3Objects, connect_s3
from tests.support.s3 import Answer, FaultProxy, access_to
from tests.support.world import World

_buckets = count(1)
DAY_FOLDER = Path("records/2026-01-01")
CAPTIONS = {
    1: "a plain caption",
    2: "two\nlines\r\nand\ta tab",
    3: "“quotes” \"double\" 'single' `back`, and, commas;",
    4: "\u202eright to left\u202c שלום عربى",
    5: "👩‍👩‍👧‍👦 é ﷽ \x01 \x7f \ufffd",
    6: "=cmd|' /C calc'!A0",
    7: "NULL",
    8: " ",
    9: "x" * 1_000_000,
}


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Source `records`, and exports in a folder."""
    registered = {"records": SourceRegistration("records")}
    return Settings(
        Registrations(registered, exports=ExportFolder(tmp_path / "exports")), database_url=database
    )


def with_exports(settings: Settings, place: ExportPlace | None, **changes: Any) -> Settings:
    return replace(
        settings, registrations=replace(settings.registrations, exports=place), **changes
    )


def exported(settings: Settings, run_key: str) -> pa.Table:
    """The table in the file that the export says it wrote."""
    done = export_run(settings, run_key=run_key)
    table = parquet.read_table(done.uri.removeprefix("file://"))
    assert done.rows == table.num_rows
    return table


def files_below(folder: Path) -> list[Path]:
    return sorted(each.relative_to(folder) for each in folder.rglob("*") if each.is_file())


def test_hostile_captions_come_back_as_they_were(world: World, settings: Settings) -> None:
    world.add({key: (f"image {key}", caption) for key, caption in CAPTIONS.items()})
    assert world.run("a").failures == ()
    rows = exported(settings, "a").to_pylist()
    assert {int(row["record_key"]): row["caption"] for row in rows} == CAPTIONS
    rejected = {row["record_key"]: row["rejection_reason"] for row in rows}
    assert {key: reason for key, reason in rejected.items() if reason} == {
        "8": "caption_empty", "9": "caption_too_long",
    }  # fmt: skip


def test_a_file_holds_the_numbers_of_the_view_to_the_bit(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    world.add_many(30)
    world.add({31: ("timeout", "never seen"), 32: ("image_undecodable", "broken")})
    world.sql("ALTER DATABASE " + str(world.engine.url.database) + " SET timezone = 'Asia/Tokyo'")
    world.run("a")
    table = exported(settings, "a")
    assert table.schema.names == [
        "record_key", "image_uri", "caption", "similarity", "clip_score", "similarity_01",
        "caption_truncated", "rejection_reason", "fingerprint", "run_key", "scored_at",
    ]  # fmt: skip
    assert table.schema.field("similarity").type == pa.float32()
    [(digest,)] = world.sql("SELECT digest FROM clip.fingerprint")
    shown = {
        row[0]: row[1:]
        for row in world.sql(
            "SELECT s.record_key, encode(float4send(s.similarity), 'hex'), s.clip_score, "
            "s.similarity_01, s.caption_truncated, rejection_reason, r.image_uri, r.caption, "
            "coalesce(scored_at, rejected_at) FROM clip.similarity s "
            "JOIN clip.record r ON r.key::text = record_key "
            "LEFT JOIN clip.score USING (source, record_key) "
            "LEFT JOIN clip.rejection USING (source, record_key)"
        )
    }
    assert len(shown) == 32
    for row in table.to_pylist():
        similarity = row["similarity"]
        bits = None if similarity is None else struct.pack(">f", similarity).hex()
        assert shown[row["record_key"]] == (
            bits, row["clip_score"], row["similarity_01"], row["caption_truncated"],
            row["rejection_reason"], row["image_uri"], row["caption"], row["scored_at"],
        )  # fmt: skip
        assert (row["fingerprint"], row["run_key"]) == (digest, "a")
        assert row["scored_at"].utcoffset().total_seconds() == 0
    assert files_below(tmp_path / "exports") == [DAY_FOLDER / "1.parquet"]


def test_texts_that_are_not_what_was_scored_are_left_empty(
    world: World, settings: Settings
) -> None:
    world.add_many(4)
    world.run("a")
    world.sql("UPDATE clip.record SET caption = 'another' WHERE key = 2")
    world.sql("DELETE FROM clip.record WHERE key = 3")
    rows = exported(settings, "a").to_pylist()
    assert [(row["record_key"], row["image_uri"], row["caption"]) for row in rows] == [
        ("1", "image 1", "caption 1"), ("2", None, None), ("3", None, None),
        ("4", "image 4", "caption 4"),
    ]  # fmt: skip
    assert all(row["similarity"] is not None for row in rows)


def test_exporting_again_gives_the_same_bytes_and_nothing_beside_them(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    world.add_many(50)
    world.run("a")
    export_run(settings, run_key="a")
    file = tmp_path / "exports" / DAY_FOLDER / "1.parquet"
    before = file.read_bytes()
    file.with_name(".1.parquet.dead.part").write_bytes(b"what a killed attempt left")
    export_run(settings, run_key="a")
    assert file.read_bytes() == before
    assert files_below(tmp_path / "exports") == [DAY_FOLDER / "1.parquet"]


def test_a_run_holds_what_no_later_run_replaced_and_may_be_empty(
    world: World, settings: Settings
) -> None:
    world.add_many(5)
    world.run("a")
    world.sql("UPDATE clip.record SET caption = 'another' WHERE key > 3")
    world.run("b")
    world.run("nothing left")
    keys = {name: exported(settings, name)["record_key"].to_pylist() for name in ("a", "b")}
    assert keys == {"a": ["1", "2", "3"], "b": ["4", "5"]}
    assert exported(settings, "nothing left").num_rows == 0


def test_an_attempt_that_fails_leaves_the_file_of_the_last_one(tmp_path: Path) -> None:
    def good(path: Path) -> int:
        path.write_bytes(b"whole")
        return 1

    def broken(path: Path) -> int:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    exports = FolderExports(tmp_path)
    exports.put("a/1.parquet", good)
    with pytest.raises(OSError, match="no space"):
        exports.put("a/1.parquet", broken)
    assert files_below(tmp_path) == [Path("a/1.parquet")]
    assert (tmp_path / "a/1.parquet").read_bytes() == b"whole"


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, bool]] = []
    target = tmp_path / "1.parquet"

    def watch(number: int) -> None:
        synced.append((Path(f"/proc/self/fd/{number}").readlink().is_dir(), target.exists()))

    def write(path: Path) -> int:
        path.write_bytes(b"rows")
        return 1

    monkeypatch.setattr("os.fsync", watch)
    FolderExports(tmp_path).put(target.name, write)
    assert synced == [(False, False), (True, True)]


def test_only_a_finished_run_of_a_registered_source_goes_to_a_registered_place(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    world.add_many(5)
    world.plan("a")
    with pytest.raises(SettingsInvalid, match="run a is running"):
        export_run(settings, run_key="a")
    with pytest.raises(RunNotFound, match="no run was planned under b"):
        export_run(settings, run_key="b")
    with pytest.raises(SettingsInvalid, match="no place for exports is registered"):
        export_run(with_exports(settings, None), run_key="a")
    world.judge("a")
    renamed = Registrations(
        {"others": SourceRegistration("others")}, exports=ExportFolder(tmp_path)
    )
    with pytest.raises(SettingsInvalid, match="source 'records' is not registered"):
        export_run(replace(settings, registrations=renamed), run_key="a")
    assert files_below(tmp_path) == []


def test_the_command_line_exports_to_a_folder_that_is_named(
    world: World, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    world.add_many(5)
    world.run("a")
    monkeypatch.setenv("CLIP_SCORING_DATABASE_URL", database)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--run-key", "a"]) is ExitCode.WRONG_USE
    assert "no place for exports is registered" in capsys.readouterr().err
    assert main(["export", "--run-key", "a", "--to", "here"]) is ExitCode.DONE
    file = tmp_path / "here" / DAY_FOLDER / "1.parquet"
    assert capsys.readouterr().out == f"5 outcomes in {file.as_uri()}\n"
    assert parquet.read_table(file).num_rows == 5


def test_a_run_that_failed_its_judgement_is_exported(world: World, settings: Settings) -> None:
    world.add_many(5)
    plan = world.plan("a", shard_size=10)
    world.score(plan.shards[0].shard_id)
    world.sql("UPDATE clip.shard SET scored = scored + 1")
    assert world.judge("a").failures
    assert exported(settings, "a").num_rows == 5


def test_row_groups_are_as_large_as_they_may_be(world: World, tmp_path: Path) -> None:
    world.add_many(1000)
    world.run("a", batch_size=500, shard_size=1000)
    run, inputs = world.runs.get("a"), TableInputs(world.source)
    sizes = {
        GroupSize(rows=400): [400, 400, 200], GroupSize(bytes=1): [200] * 5, GroupSize(): [1000],
    }  # fmt: skip
    for number, (size, groups) in enumerate(sizes.items()):
        path = tmp_path / f"{number}"
        assert write_outcomes(world.engine, run, inputs, path, size=size) == 1000
        footer = parquet.read_metadata(path)
        found = [footer.row_group(each).num_rows for each in range(footer.num_row_groups)]
        assert found == groups
        keys = parquet.read_table(path)["record_key"].to_pylist()
        assert keys == sorted(map(str, range(1, 1001)))


def test_memory_does_not_grow_with_the_run(world: World, tmp_path: Path) -> None:
    """One run of 6,000 outcomes with 48 MB of reasons and as much of captions, one of 400."""
    world.run("large")
    world.run("small")
    world.sql(
        "INSERT INTO clip.record (key, image_uri, caption) "
        "SELECT n, 'i', repeat(md5(n::text), 250) FROM generate_series(1, 6400) n"
    )
    world.sql(
        "INSERT INTO clip.rejection (source, record_key, fingerprint_id, reason, input_md5, "
        "run_id, shard_id) SELECT 'records', key::text, 1, repeat('r', 8000), "
        "md5(image_uri || E'\\x1f' || caption)::uuid, CASE WHEN key > 400 THEN 1 ELSE 2 END, 1 "
        "FROM clip.record"
    )
    inputs = TableInputs(world.source)

    def write(run_key: str) -> int:
        run, path = world.runs.get(run_key), tmp_path / run_key
        return write_outcomes(world.engine, run, inputs, path, size=GroupSize(rows=400))

    assert write("small") == 400
    grown, rows = growth(lambda: write("large"))
    assert rows == 6000
    assert grown < 60 * 2**20, f"{grown / 2**20:.0f} MiB"


def growth(act: Callable[[], int]) -> tuple[int, int]:
    """By how many bytes this process grew at most while it acted, and the result."""
    over = threading.Event()
    before = highest = resident()

    def watch() -> None:
        nonlocal highest
        while not over.is_set():
            highest = max(highest, resident())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = act()
    finally:
        over.set()
        watcher.join()
    return highest - before, result


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.fixture
def bucket(s3_client: Any) -> str:
    name = f"exports-{next(_buckets)}"
    s3_client.create_bucket(Bucket=name)
    return name


def objects_in(client: Any, bucket: str) -> dict[str, str]:
    listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {each["Key"]: each["ETag"] for each in listed}


def test_a_bucket_gets_each_file_as_one_object(
    world: World, settings: Settings, s3_access: S3Access, s3_client: Any, bucket: str
) -> None:
    world.add_many(5)
    world.run("a")
    named: list[str] = []

    def access(connection: str) -> S3Access:
        named.append(connection)
        return s3_access

    settings = with_exports(settings, ExportBucket(bucket, "all/", "lake"), s3_access=access)
    key = "all/records/2026-01-01/1.parquet"
    for _ in range(2):
        assert export_run(settings, run_key="a") == Exported(f"s3://{bucket}/{key}", 5)
        body = s3_client.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert parquet.read_table(pa.BufferReader(body)).num_rows == 5
    assert list(objects_in(s3_client, bucket)) == [key]
    assert named == ["lake"] * 2


def test_a_large_file_goes_up_in_parts_and_appears_as_a_whole(s3_client: Any, bucket: str) -> None:
    noise = random.Random(1).randbytes(9_000_000)

    def write(path: Path) -> int:
        return path.write_bytes(noise)

    done = BucketExports(s3_client, bucket, "").put("large", write)
    assert done == Exported(f"s3://{bucket}/large", len(noise))
    assert objects_in(s3_client, bucket)["large"].endswith('-2"'), "not uploaded in parts"
    assert s3_client.get_object(Bucket=bucket, Key="large")["Body"].read() == noise


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The S3 client tries again at once."""
    monkeypatch.setattr("time.sleep", lambda _: None)


def test_an_upload_that_is_refused_leaves_nothing_and_says_what_to_do(
    world: World, settings: Settings, s3_client: Any, s3_access: S3Access, bucket: str
) -> None:
    world.add_many(5)
    world.run("a")
    host, port = str(s3_access.endpoint_url).removeprefix("http://").split(":")
    with FaultProxy((host, int(port))).running() as proxy:
        place = ExportBucket(bucket)
        broken = with_exports(settings, place, s3_access=lambda _: access_to(proxy.url))
        proxy.break_next(Answer(403, "AccessDenied"))
        message = f"^s3://{bucket}/records/2026-01-01/1.parquet cannot be written, .*AccessDenied"
        with pytest.raises(SettingsInvalid, match=message):
            export_run(broken, run_key="a")
        assert objects_in(s3_client, bucket) == {}
        assert export_run(broken, run_key="a").rows == 5
    assert list(objects_in(s3_client, bucket)) == ["records/2026-01-01/1.parquet"]


@pytest.mark.parametrize(("status", "code", "raised"), [
    (503, "SlowDown", ObjectStoreUnavailable), (500, "InternalError", ObjectStoreUnavailable),
    (429, "TooManyRequests", ObjectStoreUnavailable),
    (400, "RequestTimeout", ObjectStoreUnavailable),
    (404, "NoSuchBucket", SettingsInvalid), (400, "InvalidRequest", SettingsInvalid),
])  # fmt: skip
def test_only_a_store_that_is_busy_is_worth_another_try(
    s3_access: S3Access, status: int, code: str, raised: type[Exception]
) -> None:
    client = connect_s3(s3_access)
    with Stubber(client) as stub, pytest.raises(raised, match=r"^s3://lake/1\b"):
        stub.add_client_error("put_object", code, http_status_code=status)
        BucketExports(client, "lake", "").put("1", lambda path: path.write_bytes(b"rows"))


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_away_is_worth_another_try(world: World, settings: Settings) -> None:
    world.add_many(5)
    world.run("a")
    place = ExportBucket("anywhere")
    away = with_exports(settings, place, s3_access=lambda _: access_to("http://127.0.0.1:9"))
    with pytest.raises(ObjectStoreUnavailable, match="EndpointConnectionError after all retries"):
        export_run(away, run_key="a")


class FileWorld(World):
    """A world whose records lie in files."""

    files: Callable[[World], FileSource]

    @property
    def source(self) -> FileSource:  # type: ignore[override]
        return self.files(self)


TODAY = datetime.now(UTC).date()


def test_records_of_a_file_with_ids_are_found_by_file_and_row(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    path, rows = tmp_path / "pairs.csv", CsvRows("url", "caption", "id")
    files = FileWorld(world.engine)
    files.files = lambda w: FileSource(w.engine, "records", LocalFiles(path), rows)
    path.write_text("id,url,caption\nb,image b,caption b\na,image a,caption a\nc,only two\n")
    files.run("a", day=TODAY)
    path.write_text("id,url,caption\nnew,image,caption\na,image a,caption a\n")
    files.run("b", day=TODAY)
    place = FilePlace(path, key="id")
    settings = replace(
        settings,
        registrations=replace(
            settings.registrations, sources={"records": SourceRegistration("records", place)}
        ),
    )
    path.write_text("id,url,caption\nfirst,image,caption\nb,image b,another caption\n")
    files.plan("c", day=TODAY)
    tables = {each: exported(settings, each) for each in ("a", "b")}
    assert tables["a"].schema.names[:3] == ["record_key", "uri", "row_number"]
    found = {
        name: [(row["record_key"], row["uri"], row["row_number"]) for row in table.to_pylist()]
        for name, table in tables.items()
    }
    uri = path.as_uri()
    assert found == {
        "a": [("#3", uri, 2), ("a", uri, 1), ("b", uri, 0)], "b": [("new", uri, 0)],
    }  # fmt: skip


def test_records_of_objects_are_found_by_object_and_row(
    world: World, settings: Settings, s3_client: Any, bucket: str
) -> None:
    rows = CsvRows("url", "caption", None)
    files = FileWorld(world.engine)
    files.files = lambda w: FileSource(
        w.engine, "records", S3Objects(s3_client, bucket, "", rows.suffixes), rows
    )
    for name, count_ in (("a", 3), ("b", 0), ("c", 2)):
        body = "".join(["url,caption\n", *(f"i,{name}{n}\n" for n in range(count_))])
        s3_client.put_object(Bucket=bucket, Key=f"{name}.csv", Body=body.encode())
    files.run("a", day=TODAY)
    s3_client.delete_object(Bucket=bucket, Key="a.csv")
    files.run("b", day=TODAY)
    place = BucketPlace(bucket, "", FileFormat.CSV)
    settings = replace(
        settings,
        registrations=replace(
            settings.registrations, sources={"records": SourceRegistration("records", place)}
        ),
    )
    found = [(row["uri"], row["row_number"]) for row in exported(settings, "a").to_pylist()]
    assert found == [
        *((f"s3://{bucket}/a.csv", n) for n in range(3)),
        *((f"s3://{bucket}/c.csv", n) for n in range(2)),
    ]
