"""The registration file: which sources and weights a run may name, parsed and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from clip_scoring.errors import SettingsInvalid

TINY = "tiny"
CONNECTION = "clip_scoring_db"
"""The Airflow connection to the one database that holds records and outcomes."""
ANY_BUCKET = "*"
"""Among image_buckets: all that the login may read. For people's own files, not for the file."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IMAGE_PLACE = re.compile(rf"{_BUCKET.pattern}(/([^/{{}}]+/)+)?")
_EXPORT_BUCKET = re.compile(rf"s3://({_BUCKET.pattern})((?:/[^/{{}}]+)*)/?")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_IMAGES = {"image_roots", "image_buckets", "image_connection", "http"}
_S3_CONNECTION = "clip_scoring_s3"


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
    connection: str = _S3_CONNECTION
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
    allowed_ports: tuple[int, ...] = (80, 443)
    allowed_hosts: tuple[str, ...] = ()
    """Exact host names that images may be fetched from wherever they lead."""
    egress_proxy: str | None = None
    """A proxy that every request for an image goes through."""
    image_buckets: tuple[str, ...] = ()
    """`bucket` or `bucket/prefix/` that s3:// addresses of images may lie in."""
    image_connection: str = _S3_CONNECTION


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """A folder that exports go to."""

    path: Path


@dataclass(frozen=True, slots=True)
class ExportBucket:
    """A bucket that exports go to; the prefix is empty or ends with a slash."""

    bucket: str
    prefix: str = ""
    connection: str = _S3_CONNECTION


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


def read_registrations(path: Path) -> Registrations:
    """Parse and check a registration file; every error names the file and the entry."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as missing:
        raise SettingsInvalid(f"{path}: {missing.strerror}") from missing
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise SettingsInvalid(f"{path}: not valid YAML: {str(broken).splitlines()[0]}") from broken
    if (
        not isinstance(tree, dict)
        or not tree.get("sources")
        or not isinstance(tree["sources"], dict)
    ):
        raise SettingsInvalid(f"{path}: needs a mapping `sources:` with one entry per source")
    sources = {name: _source(path, name, entry) for name, entry in tree["sources"].items()}
    weights = tree.get("weights") or {}
    if not isinstance(weights, dict) or not all(
        _is_name(name) and isinstance(place, str) for name, place in weights.items()
    ):
        raise SettingsInvalid(f"{path}: `weights:` maps names to folders")
    return Registrations(sources, {TINY: TINY, **weights}, _exports(path, tree.get("exports")))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(_NAME.fullmatch(name))


def _source(path: Path, name: object, entry: object) -> SourceRegistration:
    where = f"{path}: source {name!r}"
    if not isinstance(name, str) or not _is_name(name):
        raise SettingsInvalid(f"{where}: a name is lower case letters, digits, _ and -")
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(kind, str) or kind not in _PLACES:
        raise SettingsInvalid(f"{where}: needs `kind:`, one of {', '.join(_PLACES)}")
    read_place, own, columns = _PLACES[kind]
    known = {"kind", "columns", *own, *_IMAGES}
    if surplus := sorted(set(entry) - known, key=str):
        raise SettingsInvalid(f"{where}: unknown setting {surplus[0]!r}, known: {sorted(known)}")
    return SourceRegistration(
        name,
        read_place(path, where, entry, _columns(where, entry.get("columns") or {}, columns)),
        image_roots=tuple(_roots(path, where, entry.get("image_roots") or [])),
        image_buckets=tuple(_buckets(where, entry.get("image_buckets") or [])),
        image_connection=_connection(where, entry.get("image_connection") or _S3_CONNECTION),
        **_http(where, entry.get("http") or {}),
    )


def _columns(where: str, columns: Any, known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(columns, dict) or set(columns) - set(known):
        raise SettingsInvalid(f"{where}: columns are {', '.join(known)}")
    return {part: str(column) for part, column in columns.items()}


def _table_place(_: Path, where: str, entry: Any, columns: dict[str, str]) -> Place:
    if entry.get("connection", CONNECTION) != CONNECTION:
        raise SettingsInvalid(f"{where}: records lie in the database of connection {CONNECTION}")
    table = {"table": str(entry["table"])} if "table" in entry else {}
    return TablePlace(**table, **columns)


def _bucket_place(_: Path, where: str, entry: Any, columns: dict[str, str]) -> Place:
    bucket, prefix = entry.get("bucket"), entry.get("prefix", "")
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
        raise SettingsInvalid(f"{where}: needs `bucket:`, the name of an S3 bucket")
    if not isinstance(prefix, str) or prefix.startswith("/") or prefix.count("{date}") > 1:
        raise SettingsInvalid(f"{where}: prefix is text without a leading /, {{date}} at most once")
    if "{" in prefix.replace("{date}", "") or "}" in prefix.replace("{date}", ""):
        raise SettingsInvalid(f"{where}: prefix {prefix!r} may hold {{date}} and no other braces")
    named = {"connection": str(entry["connection"])} if entry.get("connection") else {}
    return BucketPlace(bucket, prefix, _format(where, entry.get("format")), **named, **columns)


def _file_place(path: Path, where: str, entry: Any, columns: dict[str, str]) -> Place:
    if not isinstance(entry.get("path"), str) or not entry["path"]:
        raise SettingsInvalid(f"{where}: needs `path:`, a CSV file")
    return FilePlace((path.parent / entry["path"]).resolve(), **columns)


def _format(where: str, name: Any) -> FileFormat:
    try:
        return FileFormat(name)
    except ValueError as wrong:
        raise SettingsInvalid(
            f"{where}: needs `format:`, one of {', '.join(FileFormat)}"
        ) from wrong


_PLACES = {
    "postgres": (_table_place, ("connection", "table"), ("key", "image", "caption", "event_time")),
    "s3": (_bucket_place, ("connection", "bucket", "prefix", "format"), ("image", "caption")),
    "csv": (_file_place, ("path",), ("key", "image", "caption")),
}
"""Each kind of source: how its place is read, its own settings, its columns."""


_HTTP = ("allowed_hosts", "allowed_networks", "allowed_ports", "egress_proxy")


def _http(where: str, http: Any) -> dict[str, Any]:
    """The fields that `http:` fills; `parse_networks` checks the networks."""
    if not isinstance(http, dict) or set(http) - set(_HTTP):
        raise SettingsInvalid(f"{where}: http has {', '.join(_HTTP)}")
    hosts, networks, ports = (http.get(each) or [] for each in _HTTP[:3])
    if not isinstance(hosts, list) or not all(
        isinstance(each, str) and _HOST.fullmatch(each) for each in hosts
    ):
        raise SettingsInvalid(f"{where}: allowed_hosts is a list of host names in lower case")
    if not isinstance(networks, list):
        raise SettingsInvalid(f"{where}: allowed_networks is a list")
    if not isinstance(ports, list) or not all(type(p) is int and 0 < p < 65536 for p in ports):
        raise SettingsInvalid(f"{where}: allowed_ports is a list of numbers from 1 to 65535")
    return {
        "allowed_hosts": tuple(hosts),
        "allowed_networks": tuple(str(each) for each in networks),
        "allowed_ports": (80, 443, *ports),
        "egress_proxy": _proxy(where, http.get("egress_proxy")),
    }


def _proxy(where: str, url: Any) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        named = (parts.scheme == "http" and parts.hostname and parts.port) or None
    except ValueError:
        named = None
    if named is None or url.rstrip("/") != f"http://{parts.netloc}" or "@" in url:
        raise SettingsInvalid(f"{where}: egress_proxy is http://host:port, and nothing more")
    return str(url)


def _buckets(where: str, places: Any) -> list[str]:
    if not isinstance(places, list) or not all(
        isinstance(each, str) and _IMAGE_PLACE.fullmatch(each) for each in places
    ):
        raise SettingsInvalid(f"{where}: image_buckets is a list of `bucket` or `bucket/prefix/`")
    return places


def _connection(where: str, name: Any) -> str:
    if not isinstance(name, str):
        raise SettingsInvalid(f"{where}: image_connection is the name of a connection")
    return name


def _roots(path: Path, where: str, roots: Any) -> list[Path]:
    if not isinstance(roots, list):
        raise SettingsInvalid(f"{where}: image_roots is a list of folders")
    return [(path.parent / str(each)).resolve() for each in roots]


def _exports(path: Path, entry: Any) -> ExportPlace | None:
    if entry is None:
        return None
    where = f"{path}: exports"
    place = entry.get("place") if isinstance(entry, dict) else None
    if not isinstance(place, str) or not place or set(entry) - {"place", "connection"}:
        raise SettingsInvalid(
            f"{where}: needs `place:`, a folder or s3://bucket/prefix; with it `connection:`"
        )
    named = entry.get("connection")
    if "://" not in place and named is None:
        return ExportFolder((path.parent / place).resolve())
    found = _EXPORT_BUCKET.fullmatch(place)
    if found is None or not isinstance(named or _S3_CONNECTION, str):
        raise SettingsInvalid(f"{where}: `connection:` is the name of one, for s3://bucket/prefix")
    prefix = f"{found[2][1:]}/" if found[2] else ""
    return ExportBucket(found[1], prefix, named or _S3_CONNECTION)
