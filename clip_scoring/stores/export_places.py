"""Where exports go: each file appears whole or not at all, and writing it again replaces it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from clip_scoring.errors import ClipScoringError, ObjectStoreUnavailable, SettingsInvalid
from clip_scoring.stores.objects import one_line

_BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"})
Write = Callable[[Path], int]
"""Writes a new file and returns its number of rows."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that is there now, and how many outcomes it holds."""

    uri: str
    rows: int


class Exports(Protocol):
    """A place for exports."""

    def put(self, name: str, write: Write) -> Exported:
        """Let `write` make the file of that relative name, and put it there as a whole."""


@dataclass(frozen=True, slots=True)
class FolderExports:
    """Exports below a folder, which is made where it is missing."""

    folder: Path

    def put(self, name: str, write: Write) -> Exported:
        """Write beside the file, then rename; what a killed attempt left there is removed."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*.part"):
            left.unlink(missing_ok=True)
        part = target.with_name(f".{target.name}.{token_hex(4)}.part")
        try:
            rows = write(part)
            _sync(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        _sync(target.parent)
        return Exported(target.absolute().as_uri(), rows)


@dataclass(frozen=True, slots=True)
class BucketExports:
    """Exports in a bucket below a prefix that is empty or ends with a slash."""

    client: Any
    bucket: str
    prefix: str

    def put(self, name: str, write: Write) -> Exported:
        """Write to a temporary file, then upload it; an object is replaced in one step."""
        key = f"{self.prefix}{name}"
        uri = f"s3://{self.bucket}/{key}"
        with TemporaryDirectory(prefix="clip-export-") as folder:
            part = Path(folder, "export.parquet")
            rows = write(part)
            try:
                self.client.upload_file(str(part), self.bucket, key)
            except (S3UploadFailedError, ClientError, BotoCoreError) as failed:
                raise _refusal(failed, uri) from failed
        return Exported(uri, rows)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _refusal(failed: Exception, uri: str) -> ClipScoringError:
    """What to do about an upload that failed; the client wraps what the store answered."""
    answer = failed.__context__ if isinstance(failed, S3UploadFailedError) else failed
    if isinstance(answer, ConnectionError | HTTPClientError) or _is_busy(answer):
        return ObjectStoreUnavailable(f"{uri}: {type(answer).__name__} after all retries")
    why = one_line(str(answer))
    return SettingsInvalid(f"{uri} cannot be written, check the registered exports: {why}")


def _is_busy(answer: BaseException | None) -> bool:
    if not isinstance(answer, ClientError):
        return False
    status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status == 429 or status >= 500 or answer.response["Error"].get("Code") in _BUSY
