"""Images in S3, from buckets and prefixes that are allowed by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import (
    ConnectionError as EndpointUnreached,
)
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as BodyTimeoutError

from clip_scoring.errors import ObjectStoreUnavailable, SettingsInvalid
from clip_scoring.images.budget import Share
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.images.threads import Threads
from clip_scoring.records import Reason
from clip_scoring.settings.registrations import ANY_BUCKET

_THREADS = 16
_BLOCK = 256 * 1024
_TOTAL_SECONDS = 60.0
_LONGEST_KEY = 1024
_BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"})
_LOGIN = frozenset(
    {
        "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired",
        "InvalidAccessKeyId", "RequestTimeTooSkewed", "InvalidClientTokenId",
    }
)  # fmt: skip
"""Answers about who asks, not about the object: no record is to blame."""
_UNUSABLE = (NoCredentialsError, PartialCredentialsError, NoRegionError)
_FAILURES = (BotoCoreError, ClientError, HTTPError, OSError)


class S3Images:
    """Bodies of objects, read in threads of its own; nothing outside of `places` is asked for.

    A place is the name of a bucket, or a bucket and a prefix that ends in a slash:
    `media`, `media/public/`.
    """

    def __init__(
        self, client: Any, places: Sequence[str], *, total_seconds: float = _TOTAL_SECONDS
    ) -> None:
        self._client = client
        self._places = tuple(places)
        self._seconds = total_seconds
        self._threads = Threads(_THREADS, "read-object")
        self._turns = asyncio.Semaphore(_THREADS)
        self.retries = 0
        """Requests that the client made again so far."""

    async def fetch(self, uri: str, share: Share, *, limit: int) -> bytes:
        """The object; raises ImageRejected above `limit` bytes, SettingsInvalid without access."""
        bucket, key = self._bucket_and_key(uri)
        try:
            # Our own queue does not count: all that is in flight would be late together.
            async with self._turns, asyncio.timeout(self._seconds) as time:
                return await self._read(bucket, key, share, limit, time)
        except TimeoutError as late:
            raise ImageRejected(Reason.TIMEOUT, f"not done within {self._seconds:g} s") from late
        except _UNUSABLE as unusable:
            raise SettingsInvalid(f"image_connection: {unusable}") from unusable
        except CredentialRetrievalError as failed:
            raise ObjectStoreUnavailable(f"image_connection: {failed}") from failed
        except ClientError as failed:
            if (code := failed.response.get("Error", {}).get("Code")) in _LOGIN:
                raise ObjectStoreUnavailable(f"image_connection: {code}") from failed
            raise _answer_refusal(failed) from failed
        except _FAILURES as failed:
            raise _refusal(failed) from failed

    async def close(self) -> None:
        """End the threads; the client stays open."""
        self._threads.close()

    def _bucket_and_key(self, uri: str) -> tuple[str, str]:
        """Bucket and key, whose characters mean themselves."""
        path = uri.partition("://")[2]
        bucket, _, key = path.partition("/")
        if not bucket or not key or len(key.encode()) > _LONGEST_KEY:
            raise ImageRejected(Reason.URI_INVALID, "an S3 address is s3://bucket/key")
        if not {".", ".."}.isdisjoint(key.split("/")):
            # A store keeps such a key as it is, but what stands before it may walk the path.
            raise ImageRejected(Reason.URI_FORBIDDEN, "a key with . or .. as a part")
        if not any(_lies_in(path, bucket, place) for place in self._places):
            raise ImageRejected(Reason.URI_FORBIDDEN, "the place is not among image_buckets")
        return bucket, key

    async def _read(
        self, bucket: str, key: str, share: Share, limit: int, time: asyncio.Timeout
    ) -> bytes:
        ask = partial(self._client.get_object, Bucket=bucket, Key=key)
        reply = await self._threads.run(ask, undo=lambda late: late["Body"].close())
        body = reply["Body"]
        try:
            self.retries += reply["ResponseMetadata"].get("RetryAttempts", 0)
            if reply.get("ContentLength", 0) > limit:
                raise ImageRejected(Reason.IMAGE_TOO_LARGE, f"{reply['ContentLength']} bytes")
            blocks, size = [], 0
            while block := await self._threads.run(partial(body.read, _BLOCK)):
                size += len(block)
                if size > limit:
                    raise ImageRejected(Reason.IMAGE_TOO_LARGE, f"more than {limit} bytes")
                await _paused(time, share.grow(len(block)))
                blocks.append(block)
            return b"".join(blocks)
        finally:
            # In a thread, for a read that was given up may still be under way.
            self._threads.later(body.close)


async def _paused(limit: asyncio.Timeout, waiting: Awaitable[None]) -> None:
    """Wait for our own turn at the budget, which is not the store's fault."""
    loop, until = asyncio.get_running_loop(), limit.when()
    started = loop.time()
    limit.reschedule(None)
    await waiting
    limit.reschedule(until and until + loop.time() - started)


def _lies_in(path: str, bucket: str, place: str) -> bool:
    if place == ANY_BUCKET:
        return True
    return path.startswith(place) if place.endswith("/") else bucket == place


def _answer_refusal(failed: ClientError) -> ImageRejected:
    error, meta = failed.response.get("Error", {}), failed.response.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "no code"))[:60], meta.get("HTTPStatusCode", 0)
    if status == 404:
        return ImageRejected(Reason.OBJECT_NOT_FOUND, code)
    if status == 429 or status >= 500 or code in _BUSY:
        return ImageRejected(Reason.OBJECT_SLOW_DOWN, f"still {code} after all attempts")
    return ImageRejected(Reason.OBJECT_FORBIDDEN, code)


def _refusal(failed: Exception) -> ImageRejected:
    name = type(failed).__name__
    match failed:
        case ReadTimeoutError() | ConnectTimeoutError() | BodyTimeoutError():
            return ImageRejected(Reason.TIMEOUT, name)
        case (
            IncompleteReadError() | ResponseStreamingError() | FlexibleChecksumError() | HTTPError()
        ):
            return ImageRejected(Reason.BODY_TRUNCATED, name)
        case EndpointUnreached() | HTTPClientError() | OSError():
            return ImageRejected(Reason.CONNECT_FAILED, name)
    return ImageRejected(Reason.OBJECT_FORBIDDEN, name)
