"""Types and limits of everything that people may choose, each stated once.

Annotations for pydantic. Registration files are read strictly; forms and commands may send numbers
as text. Whatever is wrong with a value, the error says the one text of its annotation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.runs import (
    MAX_BATCH_SIZE,
    MAX_LIMIT,
    MAX_SHARD_SIZE,
    Rescore,
    WindowKind,
)

INT8 = "int8"
"""As a tier: the fast one, and the towers in eight bits. What is quickest on a CPU."""
CAPTION, LABEL = "{caption}", "{label}"
MAX_PORT = 65_535
MAX_CORES = 1024
MAX_DAYS = 3650
_MAX_DIGITS = 18
MUST = "must"
"""The type of an error whose message is the text of its annotation."""


def _saying(text: str, schema: CoreSchema) -> CoreSchema:
    return core_schema.custom_error_schema(
        schema, custom_error_type=MUST, custom_error_message=text
    )


@dataclass(frozen=True, slots=True)
class Must:
    """One text for whatever is wrong with the value before it; last in its Annotated."""

    text: str

    def promise(self, _: Any) -> str:
        """The requirement on the value."""
        return self.text

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _saying(self.text, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "description": self.text}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within limits; never a bool, and as text only where reading is not strict."""

    least: int
    most: int

    def promise(self, _: Any) -> str:
        """The requirement on the value."""
        return f"must be a whole number from {self.least} to {self.most}"

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        number = core_schema.int_schema(ge=self.least, le=self.most, strict=True)
        text = core_schema.no_info_before_validator_function(_number_of_text, number)
        return _saying(self.promise(_), core_schema.lax_or_strict_schema(text, number))


@dataclass(frozen=True, slots=True)
class Parsed:
    """A value that a function makes or refuses with ValueError, and what it must be."""

    parse: Callable[[Any], Any]
    text: str

    def promise(self, _: Any) -> str:
        """The requirement on the value."""
        return self.text

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return _saying(self.text, core_schema.no_info_plain_validator_function(self.parse))


@dataclass(frozen=True, slots=True)
class OneOf:
    """A member of a closed set, or its text; `also` are texts that stand for others."""

    also: tuple[str, ...] = ()

    def promise(self, source: type[StrEnum]) -> str:
        """The requirement on the value."""
        return f"must be one of {', '.join([*source, *self.also])}"

    def __get_pydantic_core_schema__(
        self, source: type[StrEnum], _: GetCoreSchemaHandler
    ) -> CoreSchema:
        members = core_schema.enum_schema(source, [*source], sub_type="str", strict=False)
        return _saying(self.promise(source), members)


def _number_of_text(value: object) -> object:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return value


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    share = float(value) if isinstance(value, str) else value
    if not 0 <= share <= 1 or not str(value).isascii():
        raise ValueError
    return float(share)


def _day(value: object) -> date:
    day = date.fromisoformat(str(value))
    # Other ISO forms parse, with any tail; the last day of all has no next midnight.
    if day == date.max or day.isoformat() != str(value):
        raise ValueError
    return day


def _form_flag(value: object) -> bool:
    known = {"true": True, "false": False}
    if not isinstance(value, str | bool) or str(value).lower() not in known:
        raise ValueError
    return known[str(value).lower()]


def _cell_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError
    return str(value)


def _character(value: object) -> str:
    text = {"tab": "\t", "\\t": "\t"}.get(str(value), str(value))
    if len(text) != 1 or text in '"\r\n\0':
        raise ValueError
    return text


def _expanded(value: object) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError as nobody:  # ~name without such a user
        raise ValueError from nobody


def _file_path(value: object) -> Path:
    path = _expanded(value)
    if not path.name:
        raise ValueError
    return path


def _folder(value: object) -> Path:
    folder = _expanded(value)
    if not folder.is_dir():
        raise ValueError
    return folder.absolute()


def _template(value: object) -> str:
    if not isinstance(value, str) or LABEL not in value:
        raise ValueError
    return value


def _network(value: str) -> str:
    ip_network(value)
    return value


def _proxy(value: str) -> str:
    parts = urlsplit(value)
    if not (parts.hostname and parts.port) or value.rstrip("/") != f"http://{parts.netloc}":
        raise ValueError
    if "@" in value:
        raise ValueError
    return value


def _prefix(value: str) -> str:
    rest = value.replace("{date}", "", 1)
    if value.startswith("/") or "{" in rest or "}" in rest:
        raise ValueError
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | int) else value


_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
EXPORT_BUCKET = rf"s3://({_BUCKET})((?:/[^/{{}}]+)*)/?"

BatchSize = Annotated[int, Whole(1, MAX_BATCH_SIZE)]
ShardSize = Annotated[int, Whole(1, MAX_SHARD_SIZE)]
Limit = Annotated[int, Whole(1, MAX_LIMIT)]
Count = Annotated[int, Whole(0, MAX_LIMIT)]
Seed = Annotated[int, Whole(0, 10**_MAX_DIGITS - 1)]
Cores = Annotated[int, Whole(1, MAX_CORES)]
Days = Annotated[int, Whole(1, MAX_DAYS)]
Port = Annotated[int, Whole(1, MAX_PORT)]
Rate = Annotated[
    float,
    Parsed(_share, "must be a number from 0 to 1"),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
]
Flag = Annotated[bool, Field(strict=True), Must("must be true or false")]
FormFlag = Annotated[bool, Parsed(_form_flag, "must be true or false")]
Day = Annotated[date, Parsed(_day, "must be a date YYYY-MM-DD")]
WindowName = Annotated[WindowKind, OneOf()]
RescoreName = Annotated[Rescore, OneOf()]
TierName = Annotated[Tier, OneOf()]
TierOrInt8 = Annotated[Tier, OneOf(also=(INT8,))]
DtypeName = Annotated[Dtype, OneOf()]

Text = Annotated[str, Field(min_length=1, strict=True), Must("must be a string")]
CellText = Annotated[str, Parsed(_cell_text, "must be a string")]
Character = Annotated[str, Parsed(_character, "must be one character, or tab")]
FilePath = Annotated[Path, Parsed(_file_path, "must be the path of a file")]
Folder = Annotated[Path, Parsed(_folder, "must be a folder that exists")]
Template = Annotated[str, Parsed(_template, f"must be a string with {LABEL} in it")]

Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$"),
    Must("must be a name: up to 63 lower case letters, digits, _ and -, a letter first"),
]
ConnectionName = Annotated[str, Field(min_length=1), Must("must be the name of a connection")]
BucketName = Annotated[
    str, Field(pattern=rf"^{_BUCKET}$"), Must("must be the name of an S3 bucket")
]
BucketPrefix = Annotated[
    str,
    AfterValidator(_prefix),
    Must("must be a string without a / at its start, with {date} at most once and no other braces"),
]
ImageBucket = Annotated[
    str,
    Field(pattern=rf"^{_BUCKET}(/([^/{{}}]+/)+)?$"),
    Must("must be bucket or bucket/prefix/"),
]
HostName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$"),
    Must("must be the name of a host in lower case, without port or *"),
]
AnyCaseHostName = Annotated[HostName, BeforeValidator(_lower)]
Network = Annotated[
    str, AfterValidator(_network), Must("must be a network like 10.1.0.0/16 or fd00::/8")
]
Proxy = Annotated[str, AfterValidator(_proxy), Must("must be http://host:port and nothing more")]
OneOrMore = BeforeValidator(_listed)
"""For lists: a single value counts as a list of one."""


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """The validator for a kind, a type or an Annotated; made once."""
    return TypeAdapter(kind)


def bounds(kind: Any) -> dict[str, float]:
    """`minimum` and `maximum` of a number, as JSON schema and the trigger form name them."""
    schema = adapter(kind).json_schema()
    return {name: schema[name] for name in ("minimum", "maximum")}
