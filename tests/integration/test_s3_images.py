"""Images in S3: only from allowed places, byte by byte, and every failure is a reason."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from itertools import count
from threading import Event
from typing import Any

import pytest

from clip_scoring.errors import SettingsInvalid
from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.objects import S3Images
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason, Rejection
from clip_scoring.settings.environment import S3Access
from clip_scoring.sources.s3 import connect_s3
from tests.support.s3 import Answer, Before, Cut, FaultProxy, Headers, access_to, s3_server

IMAGE = random.Random(1).randbytes(700_000)
LIMIT = 1_000_000
_numbers = count(1)


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with s3_server() as address, FaultProxy(address).running() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(proxy: FaultProxy) -> Iterator[Any]:
    """A client that waits for nothing between its own attempts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
        client = connect_s3(access_to(proxy.url))
        yield client
        client.close()


@pytest.fixture
def bucket(client: Any, proxy: FaultProxy) -> str:
    name = f"media-{next(_numbers)}"
    proxy.faults.clear()
    client.create_bucket(Bucket=name)
    proxy.requests.clear()
    return name


def put(client: Any, proxy: FaultProxy, bucket: str, key: str, body: bytes = IMAGE) -> str:
    client.put_object(Bucket=bucket, Key=key, Body=body)
    proxy.requests.clear()
    return f"s3://{bucket}/{key}"


def fetched(images: S3Images, uri: str, limit: int = LIMIT) -> bytes:
    async def work() -> bytes:
        budget = ByteBudget(LIMIT)
        try:
            async with budget.share() as share:
                body = await images.fetch(uri, share, limit=limit)
                assert budget.bytes_in_use == len(body)
                return body
        finally:
            await images.close()

    return asyncio.run(work())


def refusal(images: S3Images, uri: str, limit: int = LIMIT) -> Rejection:
    with pytest.raises(ImageRejected) as raised:
        fetched(images, uri, limit)
    return raised.value.rejection


@pytest.mark.parametrize(
    "key",
    ["a.png", "a/b/c.png", "a b+c.png", "100%.png", "%2e%2e/x.png", "%2F", "é/猫 🐈.png",
     "a//b.png", "a?b#c.png", "a&b=c;d.png", "~*'()!@$,.png", "back\\slash.png", ".hidden",
     "..a/b..", "...", "trailing/", "/leading.png", "x" * 1000],
)  # fmt: skip
def test_a_key_means_its_characters_and_nothing_else(
    client: Any, proxy: FaultProxy, bucket: str, key: str
) -> None:
    uri = put(client, proxy, bucket, key)
    assert fetched(S3Images(client, [bucket]), uri) == IMAGE


@pytest.mark.parametrize("place", ["{}", "{}/public/", "{}/public/cats/"])
def test_an_object_in_an_allowed_place_is_read(
    client: Any, proxy: FaultProxy, bucket: str, place: str
) -> None:
    uri = put(client, proxy, bucket, "public/cats/a.png")
    assert fetched(S3Images(client, ["other", place.format(bucket)]), uri) == IMAGE


@pytest.mark.parametrize(
    "uri",
    ["s3://{}/private/a.png", "s3://{}/public", "s3://{}/publicly/a.png", "s3://{}/Public/a.png",
     "s3://{}//public/a.png", "s3://{}/public%2Fa.png", "s3://{}x/public/a.png",
     "s3://x{}/public/a.png", "s3://key:secret@{}/public/a.png", "s3://{}:80/public/a.png",
     "s3://{}/public/../private/a.png", "s3://{}/public/./a.png", "s3://{}/public/..",
     "s3://{}?x=/public/a.png", "s3://127.0.0.1/{}/public/a.png"],
)  # fmt: skip
def test_an_object_in_another_place_is_forbidden_and_nobody_is_asked(
    client: Any, proxy: FaultProxy, bucket: str, uri: str
) -> None:
    found = refusal(S3Images(client, [f"{bucket}/public/"]), uri.format(bucket))
    assert found.reason is Reason.URI_FORBIDDEN
    assert "secret" not in found.detail
    assert proxy.requests == []


def test_a_key_that_walks_up_is_forbidden_in_a_bucket_that_is_allowed_whole(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    images = S3Images(client, [bucket])
    assert refusal(images, f"s3://{bucket}/a/../../other/b").reason is Reason.URI_FORBIDDEN
    assert proxy.requests == []


@pytest.mark.parametrize("uri", ["s3://", "s3://{}", "s3://{}/", "s3:///a", "s3:{}/a", "s3:/{}/a"])
def test_an_address_without_bucket_or_key_is_invalid(client: Any, bucket: str, uri: str) -> None:
    images = S3Images(client, [bucket])
    assert refusal(images, uri.format(bucket)).reason is Reason.URI_INVALID


def test_a_key_of_more_bytes_than_s3_takes_is_invalid(client: Any, bucket: str) -> None:
    images = S3Images(client, [bucket])
    assert refusal(images, f"s3://{bucket}/{'é' * 600}").reason is Reason.URI_INVALID


def test_an_object_that_is_not_there_is_not_found(client: Any, bucket: str) -> None:
    found = refusal(S3Images(client, [bucket]), f"s3://{bucket}/none.png")
    assert found == Rejection(Reason.OBJECT_NOT_FOUND, "NoSuchKey")


def test_a_bucket_that_is_not_there_is_not_found(client: Any) -> None:
    found = refusal(S3Images(client, ["no-such-bucket"]), "s3://no-such-bucket/a.png")
    assert found == Rejection(Reason.OBJECT_NOT_FOUND, "NoSuchBucket")


@pytest.mark.parametrize(
    ("status", "code", "reason", "requests"),
    [(403, "AccessDenied", "object_forbidden", 1),
     (403, "InvalidObjectState", "object_forbidden", 1),
     (400, "InvalidRequest", "object_forbidden", 1), (503, "SlowDown", "object_slow_down", 5),
     (500, "InternalError", "object_slow_down", 5), (429, "Throttling", "object_slow_down", 5),
     (400, "RequestTimeout", "object_slow_down", 5)],
)  # fmt: skip
def test_what_the_store_answers_is_a_reason(
    client: Any, proxy: FaultProxy, bucket: str, status: int, code: str, reason: str, requests: int
) -> None:
    uri = put(client, proxy, bucket, "a.png")
    proxy.break_next(*[Answer(status, code)] * 5)
    found = refusal(S3Images(client, [bucket]), uri)
    assert (found.reason, code in found.detail) == (reason, True)
    assert len(proxy.requests) == requests


def test_a_store_that_is_busy_for_a_moment_costs_no_record(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    uri = put(client, proxy, bucket, "a.png")
    proxy.break_next(Answer(503, "SlowDown"))
    images = S3Images(client, [bucket])
    assert fetched(images, uri) == IMAGE
    assert images.retries == 1


@pytest.mark.parametrize(
    "fault",
    [Cut(300_000), Cut(300_000, reset=True), Cut(0), Headers({"x-amz-checksum-crc32": "AAAAAA=="})],
    ids=["cut", "reset", "cut at once", "checksum"],
)
def test_a_body_that_ends_early_or_has_another_checksum_is_truncated(
    client: Any, proxy: FaultProxy, bucket: str, fault: Any
) -> None:
    uri = put(client, proxy, bucket, "a.png")
    proxy.break_next(*[fault] * 5)
    found = refusal(S3Images(client, [bucket]), uri)
    assert found.reason is Reason.BODY_TRUNCATED


def test_an_object_of_exactly_the_limit_is_read_and_a_larger_one_is_not(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    uri = put(client, proxy, bucket, "a.png")
    assert fetched(S3Images(client, [bucket]), uri, limit=len(IMAGE)) == IMAGE
    assert refusal(S3Images(client, [bucket]), uri, limit=len(IMAGE) - 1) == Rejection(
        Reason.IMAGE_TOO_LARGE, f"{len(IMAGE)} bytes"
    )


def test_a_store_that_does_not_answer_is_a_failed_connection() -> None:
    client = connect_s3(access_to("http://127.0.0.1:9"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
        found = refusal(S3Images(client, ["media"]), "s3://media/a.png")
    assert found == Rejection(Reason.CONNECT_FAILED, "EndpointConnectionError")
    client.close()


def test_a_store_that_takes_too_long_is_a_timeout(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    uri, released = put(client, proxy, bucket, "a.png"), Event()
    proxy.break_next(Before(lambda: released.wait(10)))
    images = S3Images(client, [bucket], total_seconds=0.1)
    found = refusal(images, uri)
    released.set()
    assert found == Rejection(Reason.TIMEOUT, "not done within 0.1 s")


def test_a_body_that_comes_when_nobody_waits_any_more_is_closed() -> None:
    released, closed = Event(), Event()

    class Body:
        def close(self) -> None:
            closed.set()

    class Late:
        def get_object(self, **_: str) -> dict[str, Any]:
            released.wait(10)
            return {"Body": Body()}

    images = S3Images(Late(), ["media"], total_seconds=0.05)
    assert refusal(images, "s3://media/a.png").reason is Reason.TIMEOUT
    released.set()
    assert closed.wait(10)


def test_without_credentials_the_settings_are_wrong_and_no_record_is(
    monkeypatch: pytest.MonkeyPatch, proxy: FaultProxy
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    client = connect_s3(S3Access(proxy.url, "us-east-1"))
    with pytest.raises(SettingsInvalid, match="image_connection: Unable to locate credentials"):
        fetched(S3Images(client, ["media"]), "s3://media/a.png")
    client.close()


def test_the_endpoint_never_comes_from_the_record(client: Any, bucket: str) -> None:
    images = S3Images(client, [bucket])
    uri = f"s3://{bucket}/a.png?endpoint_url=http://169.254.169.254"
    assert refusal(images, uri).reason is Reason.OBJECT_NOT_FOUND


def test_many_objects_are_read_at_once_within_the_budget(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    uris = [put(client, proxy, bucket, f"{number}.png") for number in range(12)]

    async def work() -> list[bytes]:
        images, budget = S3Images(client, [bucket]), ByteBudget(1_000_000)

        async def one(uri: str) -> bytes:
            async with budget.share() as share:
                return await images.fetch(uri, share, limit=LIMIT)

        try:
            return await asyncio.gather(*(one(uri) for uri in uris))
        finally:
            await images.close()

    assert asyncio.run(work()) == [IMAGE] * 12


def by_fetcher(objects: S3Images | None, uri: str) -> tuple[bytes | Reason, dict[str, int]]:
    async def work() -> tuple[bytes | Reason, dict[str, int]]:
        fetcher = Fetcher(http=HttpFetcher(), roots=[], open_objects=objects and (lambda: objects))
        try:
            async with ByteBudget(LIMIT).share() as share:
                return await fetcher.fetch(uri, share), dict(fetcher.drain_metrics().counts)
        except ImageRejected as refused:
            return refused.rejection.reason, dict(fetcher.drain_metrics().counts)
        finally:
            await fetcher.close()

    return asyncio.run(work())


@pytest.mark.parametrize("scheme", ["s3", "S3"])
def test_the_fetcher_reads_objects_and_counts_their_bytes(
    client: Any, proxy: FaultProxy, bucket: str, scheme: str
) -> None:
    uri = put(client, proxy, bucket, "a.png").replace("s3:", f"{scheme}:", 1)
    proxy.break_next(Answer(503, "SlowDown"))
    body, counts = by_fetcher(S3Images(client, [bucket]), uri)
    assert (body, counts["bytes"], counts["fetch_retries"]) == (IMAGE, len(IMAGE), 1)


def test_without_allowed_buckets_no_object_is_read() -> None:
    found, counts = by_fetcher(None, "s3://media/a.png")
    assert (found, counts["bytes"]) == (Reason.URI_FORBIDDEN, 0)
