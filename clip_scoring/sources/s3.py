"""Objects in S3 and in what speaks its language; a read yields bytes of one version only."""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, BinaryIO

import urllib3
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)

from clip_scoring.display import address, one_line
from clip_scoring.errors import (
    ClipScoringError,
    ObjectChanged,
    ObjectStoreUnavailable,
    ObjectUnreadable,
    SettingsInvalid,
)
from clip_scoring.metrics import StageMetrics
from clip_scoring.runs import Window
from clip_scoring.settings.environment import S3Access
from clip_scoring.sources.stored_objects import StoredObject

_CLIENT = {
    "retries": {"mode": "standard", "max_attempts": 4},
    "connect_timeout": 5,
    "read_timeout": 30,
}
_DATE = "{date}"
_LISTED_DAYS = 31
_BLOCK = 64 * 1024
_BUFFER = 1024 * 1024
_RESUMES = 4
_FIRST_WAIT_S = 0.5
_LAST_WAIT_S = 8.0
_UNREACHED = (ConnectionError, HTTPClientError)
_BREAKS = (*_UNREACHED, IncompleteReadError, urllib3.exceptions.HTTPError, OSError)
"""A connection that failed or ended early; what was received before is good."""
_BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"})


def connect_s3(access: S3Access | None = None) -> Any:
    """A boto3 client that waits a bounded time; stores at an endpoint are addressed by path."""
    given = access or S3Access()
    style = "path" if given.endpoint_url else "auto"
    return Session().client(
        "s3",
        endpoint_url=given.endpoint_url,
        region_name=given.region,
        aws_access_key_id=given.access_key,
        aws_secret_access_key=given.secret_key,
        config=Config(**_CLIENT, s3={"addressing_style": style}),
    )


@dataclass
class S3Objects:
    """ObjectStore over the keys of a bucket below a prefix; a `{date}` in it is a day."""

    client: Any
    bucket: str
    prefix: str
    suffixes: tuple[str, ...]
    sleep: Callable[[float], None] = time.sleep
    retries: int = field(default=0, init=False)
    """Requests made again, by the client and here, since `measured` was asked last."""
    bytes_read: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.prefix.count(_DATE) > 1:
            raise SettingsInvalid(f"prefix {self.prefix!r}: only one {_DATE} can be matched")

    def list_objects(self, window: Window) -> Iterator[StoredObject]:
        """Objects with one of the suffixes and event time in the window, as the store orders them.

        S3 lists keys in the order of their UTF-8 bytes, which is that of their URIs.
        """
        for prefix in self._prefixes(window):
            for listed in self._listed(prefix):
                stored = self._stored(listed)
                if stored is not None and stored.lies_in(window):
                    yield stored

    def open(self, stored: StoredObject, start: int = 0) -> BinaryIO:
        """The bytes from `start` on; a body that breaks is taken up where it broke."""
        return io.BufferedReader(_Body(self, stored, start, stored.size), _BUFFER)

    def open_seekable(self, stored: StoredObject) -> BinaryIO:
        """The object as a file; each read that is not in the buffer is a ranged GET."""
        return io.BufferedReader(_Ranges(self, stored), _BUFFER)

    def drain_metrics(self) -> StageMetrics:
        """Counts of `bytes` and `read_retries` since the last call."""
        counts = {"bytes": self.bytes_read, "read_retries": self.retries}
        self.bytes_read = self.retries = 0
        return StageMetrics(counts=counts)

    def get(self, stored: StoredObject, start: int, stop: int) -> Any:
        """The body of one GET for bytes `start` up to `stop` of exactly this version."""
        part = {} if (start, stop) == (0, stored.size) else {"Range": f"bytes={start}-{stop - 1}"}
        key, etag = self._key(stored), f'"{stored.version}"'
        try:
            reply = self.client.get_object(Bucket=self.bucket, Key=key, IfMatch=etag, **part)
        except ClientError as failed:
            self._count_retries(failed.response)
            raise _get_refusal(failed, stored) from failed
        except _BREAKS:
            raise
        except BotoCoreError as failed:
            raise _client_refusal(failed, stored.shown) from failed
        self._count_retries(reply)
        if reply["ETag"].strip('"') != stored.version:
            reply["Body"].close()
            raise ObjectChanged(_changed(stored))
        if part and not reply.get("ContentRange", "").startswith(f"bytes {start}-"):
            reply["Body"].close()
            raise ObjectUnreadable(f"{stored.shown}: the store does not answer ranged reads")
        return reply["Body"]

    def _prefixes(self, window: Window) -> list[str]:
        static, dated, _ = self.prefix.partition(_DATE)
        if not dated:
            return [self.prefix]
        if window.start is None or window.stop - window.start > timedelta(days=_LISTED_DAYS):
            return [static]
        first = window.start.astimezone(UTC).date()
        days = (first + timedelta(days=number) for number in range(_LISTED_DAYS + 1))
        return [
            self.prefix.replace(_DATE, f"{day}") for day in days if _midnight(day) < window.stop
        ]

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self.client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                self._count_retries(page)
                yield from page.get("Contents", ())
        except ClientError as failed:
            self._count_retries(failed.response)
            raise _refusal(failed, self._uri(prefix)) from failed
        except BotoCoreError as failed:
            raise _client_refusal(failed, self._uri(prefix)) from failed

    def _stored(self, listed: dict[str, Any]) -> StoredObject | None:
        key = listed["Key"]
        event_time = self._event_time(key, listed["LastModified"])
        if event_time is None or key.endswith("/") or not key.lower().endswith(self.suffixes):
            return None
        return StoredObject(self._uri(key), listed["ETag"].strip('"'), listed["Size"], event_time)

    def _event_time(self, key: str, modified: datetime) -> datetime | None:
        static, dated, after = self.prefix.partition(_DATE)
        if not dated:
            return modified
        day, rest = key[len(static) :][:10], key[len(static) + 10 :]
        return _day(day) if rest.startswith(after) else None

    def _uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def _key(self, stored: StoredObject) -> str:
        inside = self._uri(self.prefix.partition(_DATE)[0])
        if not stored.uri.startswith(inside):
            raise ObjectUnreadable(f"{stored.shown} does not lie below {inside}")
        return stored.uri.removeprefix(self._uri(""))

    def _count_retries(self, reply: dict[str, Any]) -> None:
        self.retries += reply.get("ResponseMetadata", {}).get("RetryAttempts", 0)


class _Body(io.RawIOBase):
    """Bytes `start` up to `stop` of one version; a broken body is taken up where it broke."""

    def __init__(self, objects: S3Objects, stored: StoredObject, start: int, stop: int) -> None:
        self._objects = objects
        self._stored = stored
        self._at = start
        self._stop = stop
        self._reply: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._stop:
            self._check_sum()
            return 0
        block = self._receive(min(len(buffer), self._stop - self._at, _BLOCK))
        memoryview(buffer)[: len(block)] = block
        self._at += len(block)
        self._objects.bytes_read += len(block)
        return len(block)

    def close(self) -> None:
        self._drop()
        super().close()

    def _receive(self, wanted: int) -> bytes:
        """At least one byte; small blocks, for what a broken read received is lost."""
        broken = 0
        while True:
            failure: Exception | None = None
            try:
                if block := self._read(wanted):
                    return block
            except (*_BREAKS, FlexibleChecksumError) as failed:
                failure = failed
            self._drop()
            if broken == _RESUMES:
                raise ObjectStoreUnavailable(self._gave_up(failure)) from failure
            self._wait(broken)
            broken += 1

    def _read(self, wanted: int) -> bytes:
        if self._reply is None:
            self._reply = self._objects.get(self._stored, self._at, self._stop)
        block: bytes = self._reply.read(wanted)
        return block

    def _wait(self, broken: int) -> None:
        longest = min(_FIRST_WAIT_S * 2**broken, _LAST_WAIT_S)
        self._objects.retries += 1
        self._objects.sleep(longest * (0.5 + random.random() / 2))

    def _gave_up(self, failure: Exception | None) -> str:
        why = type(failure).__name__ if failure else "the body ended"
        place = f"byte {self._at} of {self._stored.size}"
        return f"{self._stored.shown}: {why} at {place}, and {_RESUMES} attempts to go on failed"

    def _check_sum(self) -> None:
        """The client compares the object's checksum, where it has one, at the end of the body."""
        if self._reply is not None:
            try:
                self._reply.read(1)
            except FlexibleChecksumError as wrong:
                text = f"{self._stored.shown} arrived damaged: its checksum differs"
                raise ObjectStoreUnavailable(text) from wrong
            except _BREAKS:
                self._drop()

    def _drop(self) -> None:
        if self._reply is not None:
            self._reply.close()
            self._reply = None


class _Ranges(io.RawIOBase):
    """One version as a file of which each read is a request of its own."""

    def __init__(self, objects: S3Objects, stored: StoredObject) -> None:
        self._objects = objects
        self._stored = stored
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._stored.size}[whence]
        if origin + offset < 0:
            raise ValueError(f"seek to byte {origin + offset}")
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(min(len(buffer), self._stored.size - self._at), 0)
        view = memoryview(buffer)[:wanted]
        with closing(_Body(self._objects, self._stored, self._at, self._at + wanted)) as body:
            filled = 0
            while filled < wanted:
                filled += body.readinto(view[filled:])
        self._at += wanted
        return wanted

    def readall(self) -> bytes:
        """The rest by one request, where the inherited loop would make one for every 8 KiB."""
        rest = bytearray(max(self._stored.size - self._at, 0))
        self.readinto(rest)
        return bytes(rest)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day(text: str) -> datetime | None:
    """The midnight that YYYY-MM-DD means; None for anything else, ISO weeks included."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return _midnight(day) if f"{day}" == text else None


def _changed(stored: StoredObject) -> str:
    return f"{stored.shown} changed since planning: it was {stored.version}, plan again"


def _get_refusal(failed: ClientError, stored: StoredObject) -> ClipScoringError:
    match _answer(failed):
        case 412 | 416, _:
            return ObjectChanged(_changed(stored))
        case 404, code if code != "NoSuchBucket":
            return ObjectChanged(f"{stored.shown} is gone since planning: plan again")
        case _:
            return _refusal(failed, stored.uri)


def _refusal(failed: ClientError, uri: str) -> ClipScoringError:
    bucket, place = uri.split("/")[2], address(uri)
    match _answer(failed):
        case _, "NoSuchBucket":
            return ObjectUnreadable(f"bucket {bucket} does not exist: check its name and endpoint")
        case 403, code:
            advice = f"check the credentials and their rights on bucket {bucket}"
            return ObjectUnreadable(f"{place} may not be read ({code}): {advice}")
        case status, code if status == 429 or status >= 500 or code in _BUSY:
            return ObjectStoreUnavailable(f"{place}: still {code} after all retries")
        case _, code:
            return ObjectUnreadable(f"{place}: the store answered {code}")


def _answer(failed: ClientError) -> tuple[int, str]:
    response = failed.response
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status, response.get("Error", {}).get("Code", "no code")


def _client_refusal(failed: BotoCoreError, uri: str) -> ClipScoringError:
    if isinstance(failed, _UNREACHED):
        return ObjectStoreUnavailable(f"{uri}: {type(failed).__name__} after all retries")
    return ObjectUnreadable(f"{uri}: {one_line(str(failed))}")
