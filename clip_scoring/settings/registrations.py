"""Which sources and weights a run may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from clip_scoring.errors import SettingsInvalid

TINY = "tiny"
CONNECTION = "clip_scoring_db"
"""The Airflow connection to the one database that holds records and outcomes."""
ANY_BUCKET = "*"
"""Among image_buckets: all that the login may read. For people's own files, not for the file."""
S3_CONNECTION = "clip_scoring_s3"
WEB_PORTS = (80, 443)


class FileFormat(StrEnum):
    """How the records of a file are written down."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    WEBDATASET = "webdataset"


@dataclass(frozen=True, slots=True)
class TablePlace:
    """A table or view beside the outcomes."""

    table: str = "clip.record"
    key: str = "key"
    image: str = "image_uri"
    caption: str = "caption"
    event_time: str = "created_at"


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Objects of one format under a prefix, which may hold `{date}`."""

    bucket: str
    prefix: str
    format: FileFormat
    connection: str = S3_CONNECTION
    image: str = "url"
    caption: str = "caption"


@dataclass(frozen=True, slots=True)
class FilePlace:
    """One local CSV file; `key` names a column of ids, None takes the rows' numbers."""

    path: Path
    image: str = "url"
    caption: str = "caption"
    key: str | None = None


Place = TablePlace | BucketPlace | FilePlace


@dataclass(frozen=True, slots=True)
class SourceRegistration:
    """A place that pending records may come from; a run names it, nobody types a table."""

    name: str
    place: Place = field(default_factory=TablePlace)
    image_roots: tuple[Path, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    """Networks (CIDR) that images may be fetched from although they are not public."""
    allowed_ports: tuple[int, ...] = WEB_PORTS
    allowed_hosts: tuple[str, ...] = ()
    """Exact host names that images may be fetched from wherever they lead."""
    egress_proxy: str | None = None
    """A proxy that every request for an image goes through."""
    image_buckets: tuple[str, ...] = ()
    """`bucket` or `bucket/prefix/` that s3:// addresses of images may lie in."""
    image_connection: str = S3_CONNECTION


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """A folder that exports go to."""

    path: Path


@dataclass(frozen=True, slots=True)
class ExportBucket:
    """A bucket that exports go to; the prefix is empty or ends with a slash."""

    bucket: str
    prefix: str = ""
    connection: str = S3_CONNECTION


ExportPlace = ExportFolder | ExportBucket


@dataclass(frozen=True, slots=True)
class Registrations:
    """Everything that a run may name, and the one place that exports go to."""

    sources: Mapping[str, SourceRegistration]
    weights: Mapping[str, str] = field(default_factory=lambda: {TINY: TINY})
    exports: ExportPlace | None = None

    def source(self, name: str) -> SourceRegistration:
        """The registered source; raises SettingsInvalid with the names that exist."""
        if name not in self.sources:
            raise SettingsInvalid(f"source {name!r} is not registered: {', '.join(self.sources)}")
        return self.sources[name]

    def export_place(self) -> ExportPlace:
        """Where exports go; raises SettingsInvalid that says how to register it."""
        if self.exports is None:
            raise SettingsInvalid(
                "no place for exports is registered: write `exports: {place: <folder or "
                "s3://bucket/prefix>}` into the file that registers the sources"
            )
        return self.exports
