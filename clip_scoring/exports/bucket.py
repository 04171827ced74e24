"""Exports that go to a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from clip_scoring.display import one_line
from clip_scoring.errors import ClipScoringError, ObjectStoreUnavailable, SettingsInvalid
from clip_scoring.exports.places import Exported, Write

_BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"})


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


def _refusal(failed: Exception, uri: str) -> ClipScoringError:
    """The error for an upload that failed; the client wraps what the store answered."""
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
