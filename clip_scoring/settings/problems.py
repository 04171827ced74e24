"""Wrong settings as lines for people: where each is, its value, and what it must be."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any, LiteralString, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from clip_scoring.display import redacted_cell
from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.fields import MUST, adapter

UNKNOWN, MISSING = "unknown", "absent"
"""Types of errors beside pydantic's, whose messages are ours: a key too many, a key too few."""
_OURS = {MUST, UNKNOWN, MISSING}
_KINDS = {"union_tag_invalid", "union_tag_not_found"}
_LONGEST = 80
_LARGEST = 10**18
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MAPPING, _LIST = "must be a mapping", "must be a list"
_TEXTS = {
    "missing": "missing",
    "too_short": "must not be empty",
    "recursion_loop": "refers to itself",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
}
_Options = TypeVar("_Options")


def options_of(kind: type[_Options], given: Mapping[str, Any], *, noun: str = "option") -> _Options:
    """The frozen dataclass from values as people and forms write them; None takes the default.

    Raises SettingsInvalid with a line for each wrong value and each name that does not exist.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # a dataclass
    chosen = {name: value for name, value in given.items() if value is not None}
    unknown = [name for name in chosen if name not in names]
    for name in unknown:
        del chosen[name]
    model: Any = kind  # a checker sees types as not hashable
    try:
        options: _Options = adapter(model).validate_python(chosen)
    except ValidationError as wrong:
        lines = [*_unknown_lines(noun, unknown, names)]
        lines += [_option_line(noun, error) for error in wrong.errors()]
        raise SettingsInvalid("\n".join(lines)) from wrong
    if unknown:
        raise SettingsInvalid("\n".join(_unknown_lines(noun, unknown, names)))
    return options


def _unknown_lines(noun: str, unknown: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    for name in unknown:
        yield f"unknown {noun} {shown(name)}{nearest(name, names)}"


def _option_line(noun: str, error: ErrorDetails) -> str:
    where = location(error["loc"])
    if error["type"] == "missing":
        return f"{noun} {where} is missing"
    return f"{noun} {where}: {statement(error)}"


def checked(name: str, kind: Any, value: object, *, strict: bool = False) -> Any:
    """The value; raises SettingsInvalid with its name, the value, and what it must be.

    With `strict`, text does not pass for a number.
    """
    try:
        return adapter(kind).validate_python(value, strict=strict)
    except ValidationError as wrong:
        raise SettingsInvalid(f"{name}: {statement(wrong.errors()[0])}") from wrong


def file_lines(wrong: ValidationError, kinds: Sequence[str]) -> Iterator[str]:
    """A line for each problem in a tree of sources, each of which says its `kind`."""
    for error in wrong.errors():
        # pydantic puts the kind behind the name of the source, where no file has it.
        loc = [part for at, part in enumerate(error["loc"]) if at != 2 or part not in kinds]
        where = location(loc)
        if error["type"] in _KINDS:
            yield f"{where}.kind: {_of_kind(error['input'], kinds)}"
        else:
            yield f"{where}: {statement(error)}" if where else statement(error)


def _of_kind(source: Mapping[str, object], kinds: Sequence[str]) -> str:
    text = f"must be one of {', '.join(kinds)}"
    return _of_value(source["kind"], text) if "kind" in source else f"missing, {text}"


def statement(error: ErrorDetails) -> str:
    """The value and what it must be."""
    kind, text = error["type"], _TEXTS.get(error["type"], "cannot be used here")
    if kind in _OURS:
        text = error["msg"]
    if kind in {UNKNOWN, MISSING, "missing", "too_short", "recursion_loop"}:
        return text
    return _of_value(error["input"], text)


def _of_value(value: object, text: str) -> str:
    """For a container its kind in the place of the value."""
    if value is None:
        return f"{text}, not empty"
    if isinstance(value, Mapping | list | tuple):
        return f"{text}, not a {'mapping' if isinstance(value, Mapping) else 'list'}"
    if value == "" and text == "must be a string":
        return f"{text}, not an empty one"
    quoted = text == "must be a string" and isinstance(value, int | float | date)
    return f"{shown(value)} {text}{': write it in quotes' if quoted else ''}"


def shown(value: object) -> str:
    """A value in one line of bounded length, logins and queries of addresses left out."""
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a number of many digits"  # which Python may refuse to write down
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | PurePath | date):
        return _shortened(repr(redacted_cell(str(value))))
    return f"a value of type {type(value).__name__}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def location(parts: Sequence[str | int]) -> str:
    """Where in a tree: `sources.records.image_roots[1]`."""
    written = ""
    for part in parts:
        if part == "[key]":
            continue
        if isinstance(part, str) and _PLAIN.fullmatch(part):
            written += f".{part}" if written else part
        else:
            written += f"[{shown(part)}]"
    return written


def nearest(name: object, known: Collection[str]) -> str:
    """A hint for a name that does not exist: the nearest that does, else all of them."""
    written = str(name).lower().replace("-", "_")
    if near := get_close_matches(written, known, n=1):
        return f", did you mean {near[0]}?"
    return f", known: {', '.join(known)}"


def with_names(wrong: ValidationError, section: type[BaseModel]) -> ValidationError:
    """The same errors; an unknown key gets the nearest name, a missing one what it must be."""
    lines = [_named(error, section) for error in wrong.errors()]
    return ValidationError.from_exception_data(wrong.title, lines)


def _named(error: ErrorDetails, section: type[BaseModel]) -> InitErrorDetails:
    own, kind, text = len(error["loc"]) == 1, error["type"], error["msg"]
    name = error["loc"][-1] if error["loc"] else ""
    if own and kind in {"extra_forbidden", "invalid_key"}:
        return _detail(error, UNKNOWN, f"unknown setting{nearest(name, section.model_fields)}")
    if own and kind == "missing":
        return _detail(error, MISSING, f"missing, {_promise(section.model_fields[str(name)])}")
    if kind in _OURS:
        return _detail(error, kind, text)
    return InitErrorDetails(
        type=kind, loc=error["loc"], input=error["input"], ctx=error.get("ctx", {})
    )


def _promise(field: FieldInfo) -> str:
    said = [
        limit.promise(field.annotation) for limit in field.metadata if hasattr(limit, "promise")
    ]
    return said[0] if said else _MAPPING


def _detail(error: ErrorDetails, kind: str, text: str) -> InitErrorDetails:
    kept = PydanticCustomError(kind, text)
    return InitErrorDetails(type=kept, loc=error["loc"], input=error["input"])


def problem(text: LiteralString) -> PydanticCustomError:
    """The error of a validator, in words for people."""
    return PydanticCustomError(MUST, text)
