"""Objects in S3: which are listed, and that every break of a read ends in its bytes or an error."""

import io
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from botocore.config import Config
from pyarrow import parquet

from clip_scoring.errors import (
    ClipScoringError,
    ObjectChanged,
    ObjectStoreUnavailable,
    ObjectUnreadable,
    SettingsInvalid,
)
from clip_scoring.runs import Window
from clip_scoring.settings.environment import S3Access
from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.rows_parquet import ParquetRows
from clip_scoring.sources.s3 import S3Objects, connect_s3
from clip_scoring.sources.stored_objects import StoredObject
from tests.support.s3 import (
    Answer,
    Before,
    Cut,
    FaultProxy,
    Headers,
    Shortened,
    access_to,
    s3_server,
)

EVER = Window(None, datetime(9999, 1, 1, tzinfo=UTC))
CONTENT = random.Random(1).randbytes(300_000)
BLOCK = 64 * 1024
_numbers = count(1)


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with s3_server() as address, FaultProxy(address).running() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(proxy: FaultProxy) -> Iterator[Any]:
    """A client that waits for nothing between its own retries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
        client = connect_s3(access_to(proxy.url))
        yield client
        client.close()


@pytest.fixture
def bucket(client: Any, proxy: FaultProxy) -> str:
    """A bucket of this test alone; no fault waits for it, and no request was noted."""
    proxy.faults.clear()
    name = f"pairs-{next(_numbers)}"
    client.create_bucket(Bucket=name)
    proxy.requests.clear()
    return name


class World:
    """One bucket behind the proxy; sleeps are noted, not slept."""

    def __init__(self, client: Any, bucket: str, proxy: FaultProxy) -> None:
        self.client, self.bucket, self.proxy = client, bucket, proxy
        self.slept: list[float] = []

    def store(self, prefix: str = "", suffixes: tuple[str, ...] = ("",)) -> S3Objects:
        return S3Objects(self.client, self.bucket, prefix, suffixes, sleep=self.slept.append)

    def put(self, key: str, content: bytes = CONTENT) -> StoredObject:
        etag = self.client.put_object(Bucket=self.bucket, Key=key, Body=content)["ETag"]
        self.proxy.requests.clear()
        uri = f"s3://{self.bucket}/{key}"
        return StoredObject(uri, etag.strip('"'), len(content), datetime.now(UTC))

    def read(self, start: int = 0) -> tuple[S3Objects, bytes]:
        store, stored = self.store(), self.put_through("a.csv")
        with store.open(stored, start) as stream:
            return store, stream.read()

    def put_through(self, key: str) -> StoredObject:
        """Put while the faults wait for what comes after."""
        faults = list(self.proxy.faults)
        self.proxy.faults.clear()
        stored = self.put(key)
        self.proxy.faults.extend(faults)
        return stored

    def ranges(self) -> list[str | None]:
        return [each.range for each in self.proxy.requests]


@pytest.fixture
def world(client: Any, bucket: str, proxy: FaultProxy) -> World:
    return World(client, bucket, proxy)


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def keys(store: S3Objects, window: Window = EVER) -> list[str]:
    return [each.uri.split("/", 3)[3] for each in store.list_objects(window)]


def test_an_object_is_listed_as_it_was_put(world: World) -> None:
    put = world.put("in/a.csv", b"abc")
    (found,) = world.store("in/").list_objects(EVER)
    assert (found.uri, found.version, found.size) == (put.uri, put.version, 3)
    assert abs(found.event_time - put.event_time) < timedelta(seconds=30)


def test_only_keys_below_the_prefix_with_a_suffix_are_listed(world: World) -> None:
    for key in ("in/b.csv", "in/a.CSV", "in/a.json", "in/", "in/x.csv/", "other/a.csv", "in.csv"):
        world.put(key, b"x")
    assert keys(world.store("in/", (".csv",))) == ["in/a.CSV", "in/b.csv"]


def test_a_folder_marker_is_no_object(world: World) -> None:
    world.put("in/sub/", b"")
    assert keys(world.store("in/")) == []


def test_strange_keys_are_listed_in_order_and_read(world: World) -> None:
    strange = ["a b.csv", "a%20b.csv", "a+b.csv", "a?b#c.csv", "é.csv", "猫.csv", "🐈.csv"]
    for key in strange:
        world.put(key, key.encode())
    store = world.store()
    found = list(store.list_objects(EVER))
    assert [each.uri for each in found] == sorted(f"s3://{world.bucket}/{key}" for key in strange)
    for each in found:
        with store.open(each) as stream:
            assert stream.read().decode() == each.uri.split("/", 3)[3]


def test_more_than_a_page_is_listed(world: World) -> None:
    for number in range(5):
        world.put(f"{number}.csv")
    small = connect_s3(access_to(world.proxy.url))
    small.meta.events.register(
        "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=2)
    )
    store = S3Objects(small, world.bucket, "", ("",))
    assert keys(store) == [f"{number}.csv" for number in range(5)]
    assert len(world.proxy.requests) == 3
    small.close()


@pytest.mark.parametrize(("after", "listed"), [(-60, 0), (60, 1)])
def test_without_a_date_the_time_of_the_last_change_decides(
    world: World, after: int, listed: int
) -> None:
    put = world.put("a.csv")
    window = Window(None, put.event_time + timedelta(seconds=after))
    assert len(keys(world.store(), window)) == listed


@pytest.fixture
def dated(world: World) -> S3Objects:
    for number in range(1, 6):
        world.put(f"in/2026-01-{number:02}/b.csv", b"x")
    for name in ("2026-13-01", "2026-W01-1", "20260101", "latest", "2026-01-02x"):
        world.put(f"in/{name}/a.csv", b"x")
    return world.store("in/{date}/", (".csv",))


def test_the_date_in_a_key_is_its_event_time_in_a_half_open_window(dated: S3Objects) -> None:
    found = list(dated.list_objects(Window(day(2), day(4))))
    assert [(each.uri[-16:], each.event_time) for each in found] == [
        ("2026-01-02/b.csv", day(2)), ("2026-01-03/b.csv", day(3))
    ]  # fmt: skip


def test_a_window_without_start_takes_every_earlier_date(dated: S3Objects) -> None:
    assert keys(dated, Window(None, day(3))) == ["in/2026-01-01/b.csv", "in/2026-01-02/b.csv"]


def test_a_long_window_lists_what_its_days_would_list(dated: S3Objects) -> None:
    assert keys(dated, Window(day(2) - timedelta(days=40), day(3))) == keys(
        dated, Window(None, day(3))
    )


def test_a_window_that_begins_within_a_day_leaves_that_day_out(dated: S3Objects) -> None:
    window = Window(day(2) + timedelta(hours=1), day(4))
    assert keys(dated, window) == ["in/2026-01-03/b.csv"]


def test_a_short_window_asks_for_its_days_only(dated: S3Objects, world: World) -> None:
    keys(dated, Window(day(2), day(4)))
    assert [each.path.split("prefix=")[1].split("&")[0] for each in world.proxy.requests] == [
        "in%2F2026-01-02%2F", "in%2F2026-01-03%2F"
    ]  # fmt: skip


def test_text_may_follow_the_date_in_the_prefix(world: World) -> None:
    for key in ("x-2026-01-01-pairs.csv", "x-2026-01-01-other.csv"):
        world.put(key)
    assert keys(world.store("x-{date}-pairs")) == ["x-2026-01-01-pairs.csv"]


def test_two_dates_in_a_prefix_are_refused(world: World) -> None:
    with pytest.raises(SettingsInvalid, match="only one"):
        world.store("{date}/{date}/")


def refused_listing(world: World, store: S3Objects | None = None) -> ClipScoringError:
    with pytest.raises(ClipScoringError) as raised:
        list((store or world.store("in/")).list_objects(EVER))
    return raised.value


def test_a_missing_bucket_is_named(client: Any, bucket: str) -> None:
    with pytest.raises(ObjectUnreadable, match="bucket no-such-pairs does not exist"):
        list(S3Objects(client, "no-such-pairs", "", ("",)).list_objects(EVER))


def test_a_bucket_that_may_not_be_listed_is_named_with_what_to_check(world: World) -> None:
    world.proxy.break_next(Answer(403, "AccessDenied"))
    refusal = refused_listing(world)
    assert isinstance(refusal, ObjectUnreadable)
    assert str(refusal) == (
        f"s3://{world.bucket}/in/ may not be read (AccessDenied): "
        f"check the credentials and their rights on bucket {world.bucket}"
    )


def test_any_other_refusal_tells_its_code(world: World) -> None:
    world.proxy.break_next(Answer(400, "StrangeRequest"))
    refusal = refused_listing(world)
    assert isinstance(refusal, ObjectUnreadable)
    assert "answered StrangeRequest" in str(refusal)


@pytest.mark.parametrize("fault", [Answer(503, "SlowDown"), Answer(500, "InternalError")])
def test_the_client_asks_again_and_that_is_counted(world: World, fault: Answer) -> None:
    world.put("in/a.csv")
    world.proxy.break_next(fault, fault)
    store = world.store("in/")
    assert (keys(store), store.retries) == (["in/a.csv"], 2)


@pytest.mark.parametrize("fault", [Answer(503, "SlowDown"), Answer(500, "InternalError")])
def test_a_store_that_stays_busy_is_unavailable(world: World, fault: Answer) -> None:
    world.proxy.break_next(*[fault] * 5)
    store = world.store()
    refusal = refused_listing(world, store)
    assert isinstance(refusal, ObjectStoreUnavailable)
    assert fault.code in str(refusal)
    assert store.retries == 4


@pytest.mark.usefixtures("client")
def test_a_store_that_nobody_serves_is_unavailable() -> None:
    store = S3Objects(connect_s3(access_to("http://127.0.0.1:9")), "pairs", "", ("",))
    with pytest.raises(ObjectStoreUnavailable, match="s3://pairs/: EndpointConnectionError"):
        list(store.list_objects(EVER))


def test_a_bucket_name_that_cannot_be_is_unreadable(client: Any) -> None:
    with pytest.raises(ObjectUnreadable, match="Invalid bucket name"):
        list(S3Objects(client, "no/bucket", "", ("",)).list_objects(EVER))


@pytest.mark.parametrize("start", [0, 1, 299_999, 300_000, 400_000])
def test_an_object_is_read_from_any_byte(world: World, start: int) -> None:
    store, content = world.read(start)
    assert content == CONTENT[start:]
    assert (store.bytes_read, store.retries) == (len(content), 0)


def test_reading_asks_once_and_for_a_range_only_behind_the_start(world: World) -> None:
    world.read()
    assert world.ranges() == [None]
    world.read(7)
    assert world.ranges() == ["bytes=7-299999"]


def test_each_request_asks_for_the_version_that_was_planned(world: World) -> None:
    stored = world.put("a.csv")
    world.proxy.break_next(Cut(BLOCK))
    with world.store().open(stored) as stream:
        stream.read()
    with world.store().open_seekable(stored) as stream:
        stream.read()
    assert [each.if_match for each in world.proxy.requests] == [f'"{stored.version}"'] * 3


def test_an_empty_object_is_read(world: World) -> None:
    with world.store().open(world.put("a.csv", b"")) as stream:
        assert stream.read() == b""


def test_nothing_is_asked_before_something_is_read(world: World) -> None:
    world.store().open(world.put("a.csv")).close()
    assert world.ranges() == []


def test_what_is_read_is_counted_and_not_the_whole_object(world: World) -> None:
    store = world.store()
    with store.open(world.put("a.csv", bytes(8 << 20))) as stream:
        stream.read(100)
    assert store.bytes_read <= 1 << 20


@pytest.mark.parametrize("after", [1, 1000, BLOCK, 299_999])
def test_a_body_that_ends_early_is_taken_up_where_it_ended(world: World, after: int) -> None:
    world.proxy.break_next(Cut(after))
    store, content = world.read()
    assert content == CONTENT
    assert store.retries == len(world.slept) == 1
    first, second = world.ranges()
    assert first is None
    start = int(second.removeprefix("bytes=").removesuffix("-299999"))
    assert after - BLOCK < start <= after


@pytest.mark.parametrize("after", [0, 1000, 299_999])
def test_a_reset_connection_costs_no_byte(world: World, after: int) -> None:
    world.proxy.break_next(Cut(after, reset=True))
    store, content = world.read()
    assert (content, store.retries) == (CONTENT, 1)


def test_a_short_body_is_never_taken_for_the_end(world: World) -> None:
    world.proxy.break_next(*[Cut(0)] * 5)
    with pytest.raises(ObjectStoreUnavailable, match="at byte 0 of 300000, and 4 attempts to go"):
        world.read()


def test_a_short_body_that_says_it_is_whole_is_noticed_as_well(world: World) -> None:
    world.proxy.break_next(Shortened(100_000))
    store, content = world.read()
    assert (content, store.retries) == (CONTENT, 1)


def test_a_body_that_makes_progress_each_time_is_read_to_its_end(world: World) -> None:
    world.proxy.break_next(*[Cut(BLOCK)] * 4, None)
    store, content = world.read()
    assert (content, store.retries) == (CONTENT, 4)


def test_waits_grow_with_jitter_between_breaks_without_progress(world: World) -> None:
    world.proxy.break_next(*[Cut(0)] * 4)
    _, content = world.read()
    assert content == CONTENT
    for slept, longest in zip(world.slept, (0.5, 1, 2, 4), strict=True):
        assert longest / 2 <= slept <= longest


def test_a_server_that_dies_while_it_is_read_from_is_unavailable(world: World) -> None:
    with FaultProxy(world.proxy.target).running() as dying:
        client = connect_s3(access_to(dying.url))
        store = S3Objects(client, world.bucket, "", ("",), sleep=world.slept.append)
        stored = world.put("a.csv", bytes(8 << 20))
        dying.break_next(Cut(BLOCK))
        stream = store.open(stored)
        stream.read(10)
    with stream, pytest.raises(ObjectStoreUnavailable, match="EndpointConnectionError at byte"):
        stream.read()
    assert len(world.slept) == 4


def test_an_object_replaced_before_it_is_opened_is_a_change(world: World) -> None:
    stored = world.put("a.csv")
    world.put("a.csv", b"other")
    text = f"s3://{world.bucket}/a.csv changed since planning: it was {stored.version}, plan again"
    with world.store().open(stored) as stream, pytest.raises(ObjectChanged, match=text):
        stream.read()


def test_an_object_replaced_between_break_and_resumption_is_a_change(world: World) -> None:
    stored, store = world.put("a.csv"), world.store()
    direct = "http://{}:{}".format(*world.proxy.target)
    other = connect_s3(access_to(direct))
    replace = Before(lambda: other.put_object(Bucket=world.bucket, Key="a.csv", Body=CONTENT[1:]))
    world.proxy.break_next(Cut(2 * BLOCK), replace)
    received = b""
    with store.open(stored) as stream, pytest.raises(ObjectChanged, match="plan again"):
        while block := stream.read1(BLOCK):
            received += block
    assert received == CONTENT[: len(received)]
    other.close()


def test_a_store_that_ignores_the_condition_is_found_out(world: World) -> None:
    world.proxy.break_next(Headers({"ETag": '"another"', "etag": None}))
    with pytest.raises(ObjectChanged, match="plan again"):
        world.read()


def test_a_store_that_ignores_ranges_is_found_out(world: World) -> None:
    world.proxy.break_next(Headers({"Content-Range": None, "content-range": None}))
    with pytest.raises(ObjectUnreadable, match="does not answer ranged reads"):
        world.read(5)


def test_a_deleted_object_is_gone(world: World) -> None:
    stored = world.put("a.csv")
    world.client.delete_object(Bucket=world.bucket, Key="a.csv")
    with world.store().open(stored) as stream, pytest.raises(ObjectChanged, match="is gone since"):
        stream.read()


@pytest.mark.parametrize(("fault", "error"), [
    (Answer(403, "AccessDenied"), ObjectUnreadable),
    (Answer(404, "NoSuchBucket"), ObjectUnreadable),
    (Answer(400, "StrangeRequest"), ObjectUnreadable),
    (Answer(404, "NoSuchKey"), ObjectChanged),
    (Answer(412, "PreconditionFailed"), ObjectChanged),
    (Answer(416, "InvalidRange"), ObjectChanged),
])  # fmt: skip
def test_a_refused_read_is_one_error_at_once(
    world: World, fault: Answer, error: type[ClipScoringError]
) -> None:
    world.proxy.break_next(fault)
    with pytest.raises(error):
        world.read()
    assert (len(world.ranges()), world.slept) == (1, [])


@pytest.mark.parametrize("fault", [Answer(503, "SlowDown"), Answer(500, "InternalError")])
def test_a_read_from_a_store_that_stays_busy_is_unavailable(world: World, fault: Answer) -> None:
    world.proxy.break_next(*[fault] * 5)
    with pytest.raises(ObjectStoreUnavailable, match=f"still {fault.code} after all retries"):
        world.read()


def test_a_damaged_body_is_not_taken_for_the_object(world: World) -> None:
    world.proxy.break_next(Headers({"x-amz-checksum-crc32": "AAAAAA=="}))
    with pytest.raises(ObjectStoreUnavailable, match="its checksum differs"):
        world.read()


def test_no_object_outside_the_prefix_can_be_opened(world: World) -> None:
    stored = world.put("other/a.csv")
    store = world.store("in/{date}/")
    with store.open(stored) as stream, pytest.raises(ObjectUnreadable, match="does not lie below"):
        stream.read()
    assert world.ranges() == []


def test_a_seekable_object_fetches_only_what_is_read(world: World) -> None:
    content = random.Random(2).randbytes(6 << 20)
    store, stored = world.store(), world.put("a.bin", content)
    with store.open_seekable(stored) as stream:
        assert stream.seek(-10, os.SEEK_END) == len(content) - 10
        assert stream.read() == content[-10:]
        assert stream.seek(2 << 20) == 2 << 20
        assert stream.read(3) == content[2 << 20 :][:3]
        assert stream.seek(5, os.SEEK_CUR) == (2 << 20) + 8
        assert stream.read(2) == content[(2 << 20) + 8 :][:2]
    assert store.bytes_read == 10 + (1 << 20)


def test_a_seekable_object_survives_a_break(world: World) -> None:
    store, stored = world.store(), world.put("a.bin")
    world.proxy.break_next(Cut(100_000))
    with store.open_seekable(stored) as stream:
        assert stream.read() == CONTENT
    assert store.retries == 1


def parquet_content() -> bytes:
    file = io.BytesIO()
    numbers = range(3000)
    table = pa.table({
        "image": [f"{each}.png" for each in numbers],
        "text": [f"text {each}" for each in numbers],
        "embedding": [random.Random(each).randbytes(4000) for each in numbers],
    })  # fmt: skip
    parquet.write_table(table, file, row_group_size=1000, compression="none")
    return file.getvalue()


def test_parquet_rows_are_read_from_the_store_without_the_other_columns(world: World) -> None:
    store, stored = world.store(), world.put("a.parquet", parquet_content())
    rows_of = ParquetRows("image", "text")
    survey = rows_of.survey(store, stored)
    assert [row.caption for row in rows_of.rows(store, stored, survey, 1500)] == [
        f"text {each}" for each in range(1500, 3000)
    ]
    assert store.bytes_read < stored.size / 2


def test_parquet_in_an_object_that_is_replaced_meanwhile_is_a_change(world: World) -> None:
    store, stored = world.store(), world.put("a.parquet", parquet_content())
    rows_of = ParquetRows("image", "text")
    survey = rows_of.survey(store, stored)
    world.put("a.parquet", b"other")
    with pytest.raises(ObjectChanged, match="plan again"):
        list(rows_of.rows(store, stored, survey, 0))


def test_csv_rows_from_a_mark_fetch_no_more_than_the_header_and_the_rest(world: World) -> None:
    content = b"image_uri,caption\n" + b"a.png,a caption of some length\n" * 60_000
    store, stored = world.store(), world.put("a.csv", content)
    rows_of = CsvRows("image_uri", "caption")
    survey = rows_of.survey(store, stored)
    assert survey.rows == 60_000
    store.bytes_read = 0
    assert sum(1 for _ in rows_of.rows(store, stored, survey, 55_000)) == 5_000
    assert store.bytes_read < 450_000


def test_csv_rows_over_a_connection_that_keeps_breaking_are_those_of_the_object(
    world: World,
) -> None:
    lines = b"".join(b"%d.png,caption %d\n" % (each, each) for each in range(30_000))
    store, stored = world.store(), world.put("a.csv", b"image_uri,caption\n" + lines)
    rows_of = CsvRows("image_uri", "caption")
    survey = rows_of.survey(store, stored)
    world.proxy.break_next(None, *[Cut(100_000, reset) for reset in (True, False, True)])
    found = [(row.number, row.caption) for row in rows_of.rows(store, stored, survey, 0)]
    assert found == [(each, f"caption {each}") for each in range(30_000)]
    assert store.retries == 3


def test_the_client_is_bounded_and_addresses_an_endpoint_by_path() -> None:
    client = connect_s3(access_to("http://127.0.0.1:9"))
    config: Config = client.meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 5}
    assert (config.connect_timeout, config.read_timeout) == (5, 30)
    assert config.s3["addressing_style"] == "path"
    client.close()


def test_a_secret_is_not_printed() -> None:
    assert "hush" not in repr(S3Access("http://x", "eu", "me", "hush"))


def test_without_access_the_default_chain_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    client = connect_s3(None)
    assert client._request_signer._credentials.access_key == "from-the-environment"
    client.close()


def test_missing_credentials_are_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = connect_s3(S3Access("http://127.0.0.1:9", "us-east-1"))
    with pytest.raises(ObjectUnreadable, match="s3://pairs/in/: Unable to locate credentials"):
        list(S3Objects(client, "pairs", "in/", ("",)).list_objects(EVER))
    client.close()
