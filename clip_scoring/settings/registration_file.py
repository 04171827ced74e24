"""The file that registers sources, weights and exports, and what each setting in it must be."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.fields import (
    EXPORT_BUCKET,
    BucketName,
    BucketPrefix,
    ConnectionName,
    HostName,
    ImageBucket,
    Must,
    Name,
    Network,
    OneOf,
    Port,
    Proxy,
    Text,
)
from clip_scoring.settings.problems import file_lines, problem, with_names
from clip_scoring.settings.registrations import (
    CONNECTION,
    TINY,
    WEB_PORTS,
    BucketPlace,
    ExportBucket,
    ExportFolder,
    ExportPlace,
    FileFormat,
    FilePlace,
    Place,
    Registrations,
    SourceRegistration,
    TablePlace,
)
from clip_scoring.settings.yaml_files import read_yaml

KINDS = ("postgres", "s3", "csv")


def read_registrations(path: Path) -> Registrations:
    """Parse and check a registration file; raises SettingsInvalid with a line for each problem.

    Each line has the file, the place in it, the value, and what it must be.
    """
    tree = read_yaml(path) or {}
    try:
        return RegistrationFile.model_validate(tree).registrations(path.parent)
    except ValidationError as wrong:
        lines = (f"{path}: {line}" for line in file_lines(wrong, KINDS))
        raise SettingsInvalid("\n".join(lines)) from wrong


class Section(BaseModel):
    """A mapping of the file; what is left empty takes the default of the value made of it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _named(cls, tree: Any, handler: ModelWrapValidatorHandler[Section]) -> Section:
        try:
            return handler(tree)
        except ValidationError as wrong:
            raise with_names(wrong, cls) from None


class Columns(Section):
    """Which column holds what."""

    image: Text | None = None
    caption: Text | None = None


class KeyedColumns(Columns):
    """With a column of ids."""

    key: Text | None = None


class TableColumns(KeyedColumns):
    """With the column that windows look at."""

    event_time: Text | None = None


class Http(Section):
    """Exceptions for images, beyond public addresses and ports 80 and 443."""

    allowed_hosts: list[HostName] | None = Field(
        None, description="Exact names of hosts, wherever they lead."
    )
    allowed_networks: list[Network] | None = Field(
        None, description="Networks (CIDR) although they are not public."
    )
    allowed_ports: list[Port] | None = Field(None, description="Ports besides 80 and 443.")
    egress_proxy: Proxy | None = Field(None, description="A proxy for every request.")


class Source(Section):
    """Fields of sources of all kinds."""

    image_roots: list[Text] | None = Field(
        None, description="Folders below which relative paths and file:// addresses may point."
    )
    image_buckets: list[ImageBucket] | None = Field(
        None, description="`bucket` or `bucket/prefix/` that s3:// addresses may lie in."
    )
    image_connection: ConnectionName | None = Field(
        None, description="The connection for image_buckets."
    )
    http: Http | None = None

    def registration(self, name: str, folder: Path) -> SourceRegistration:
        """The source; paths begin at the folder of the file."""
        http = _given(self.http)
        ports: dict[str, Any] = {"allowed_ports": (*WEB_PORTS, *http.pop("allowed_ports", ()))}
        images = _given(self, "image_buckets", "image_connection")
        roots = tuple(_path(folder, root) for root in self.image_roots or ())
        return SourceRegistration(
            name, self.place(folder), image_roots=roots, **images, **http, **ports
        )

    def place(self, folder: Path) -> Place:
        """Where its records are."""
        raise NotImplementedError


class TableSource(Source):
    """A table or view of the database that holds the outcomes."""

    kind: Literal["postgres"]
    connection: Annotated[
        str | None,
        Field(pattern=f"^{CONNECTION}$"),
        Must(f"must be {CONNECTION}: records lie in the database of the outcomes"),
    ] = None
    table: Text | None = Field(None, description="schema.name of a table or view.")
    columns: TableColumns | None = None

    def place(self, _: Path) -> Place:
        return TablePlace(**_given(self, "table"), **_given(self.columns))


class BucketSource(Source):
    """Objects under a prefix of an S3 bucket."""

    kind: Literal["s3"]
    connection: ConnectionName | None = None
    bucket: BucketName
    prefix: BucketPrefix | None = Field(
        None, description="May hold {date}, YYYY-MM-DD, the day of all records below it."
    )
    format: Annotated[FileFormat, OneOf()]
    columns: Columns | None = None

    def place(self, _: Path) -> Place:
        given = _given(self, "bucket", "format", "connection")
        return BucketPlace(prefix=self.prefix or "", **given, **_given(self.columns))


class FileSource(Source):
    """One local CSV file."""

    kind: Literal["csv"]
    path: Text
    columns: KeyedColumns | None = None

    def place(self, folder: Path) -> Place:
        return FilePlace(_path(folder, self.path), **_given(self.columns))


AnySource = Annotated[TableSource | BucketSource | FileSource, Field(discriminator="kind")]


class Exports(Section):
    """Where finished runs are exported to."""

    place: Text = Field(description="A folder, or s3://bucket/prefix.")
    connection: ConnectionName | None = Field(None, description="For a bucket only.")

    @field_validator("place")
    @classmethod
    def _is_folder_or_bucket(cls, place: str) -> str:
        if "://" in place and not re.fullmatch(EXPORT_BUCKET, place):
            raise problem("must be a folder, or s3://bucket/prefix without braces")
        return place

    @field_validator("connection")
    @classmethod
    def _is_for_a_bucket(cls, connection: str | None, info: ValidationInfo) -> str | None:
        if connection is not None and "://" not in info.data.get("place", "://"):
            raise problem("must be left out: a folder needs no connection")
        return connection

    def export_place(self, folder: Path) -> ExportPlace:
        """Where exports go; paths begin at the folder of the file."""
        bucket = re.fullmatch(EXPORT_BUCKET, self.place)
        if bucket is None:
            return ExportFolder(_path(folder, self.place))
        prefix = f"{bucket[2][1:]}/" if bucket[2] else ""
        return ExportBucket(bucket[1], prefix, **_given(self, "connection"))


class RegistrationFile(Section):
    """The whole file; its JSON schema is docs/sources.schema.json."""

    sources: Annotated[dict[Name, AnySource], Field(min_length=1)]
    weights: dict[Name, Text] | None = Field(
        None, description="Folders by the names that the trigger form offers."
    )
    exports: Exports | None = None

    def registrations(self, folder: Path) -> Registrations:
        """The values; paths begin at the folder of the file."""
        return Registrations(
            {name: source.registration(name, folder) for name, source in self.sources.items()},
            {TINY: TINY, **(self.weights or {})},
            None if self.exports is None else self.exports.export_place(folder),
        )


def json_schema() -> dict[str, Any]:
    """Of the file, for editors; stricter rules than a schema can hold are checked when read."""
    tree = _tidied(RegistrationFile.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **tree}


def _tidied(tree: Any) -> Any:
    """Without titles, which repeat the names, and with other names refused where some are."""
    if isinstance(tree, list):
        return [_tidied(value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    kept = {
        name: _tidied(value)
        for name, value in tree.items()
        if not (name == "title" and isinstance(value, str)) and (name, value) != ("default", None)
    }
    return {**kept, "additionalProperties": False} if "patternProperties" in kept else kept


def _given(section: Section | None, *names: str) -> dict[str, Any]:
    """Fields of a section that are not empty: those named, or all."""
    given = dict(section or ())
    chosen = {name: given[name] for name in names or given if given[name] is not None}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()}


def _path(folder: Path, name: str) -> Path:
    # Path.resolve raises RuntimeError for links that lead in a circle.
    return Path(os.path.realpath(folder / name))


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
