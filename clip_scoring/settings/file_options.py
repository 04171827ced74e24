"""What a person may choose for scoring a CSV file, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clip_scoring.errors import SettingsInvalid

CAPTION = "{caption}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """The file, what its columns are called, and what is made of it."""

    path: Path
    output: Path | None = None
    image_column: str | None = None
    caption_column: str | None = None
    id_column: str | None = None
    delimiter: str | None = None
    has_header: bool = True
    prefix: str = ""
    """A template around each caption, with `{caption}` in it, or text to stand before it."""
    limit: int | None = None
    seed: int | None = None
    """With a limit: draw the rows at random, the same ones for the same seed."""
    commit_every: int = 10_000
    resume: bool = True
    retry_rejected: bool = False
    force: bool = False
    column_prefix: str = ""
    excel_safe: bool = False
    max_rejection_rate: float | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FileOptions:
        """From values as people and files write them; what is for others is left alone.

        Raises SettingsInvalid naming the option, its value and what it may be.
        """
        if "path" not in given:
            raise SettingsInvalid("which file? name a CSV file, or csv_path in the --config")
        chosen: dict[str, Any] = {
            each.name: _PARSERS[each.name](each.name, given[each.name])
            for each in fields(cls)
            if given.get(each.name) is not None
        }
        return cls(**chosen)

    @property
    def image(self) -> str:
        """The column of addresses; numbers from 1 name them where there is no header."""
        return self.image_column or ("url" if self.has_header else "1")

    @property
    def caption(self) -> str:
        """The column of captions."""
        return self.caption_column or ("caption" if self.has_header else "2")

    @property
    def written_to(self) -> Path:
        """The output: `PAIRS_scored.csv` beside PAIRS.csv unless another was named."""
        if self.output is not None:
            return self.output
        name = self.path.name.removesuffix(".gz")
        stem, suffix = Path(name).stem, Path(name).suffix
        kept = suffix if suffix.lower() == ".tsv" else ".csv"
        return self.path.with_name(f"{stem}_scored{kept}")

    @property
    def journal(self) -> Path:
        """Beside the output."""
        return self.written_to.with_name(f"{self.written_to.name}.journal")

    def worded(self, caption: str) -> str:
        """The caption as it is scored; an empty one stays empty."""
        if not self.prefix or not caption.strip():
            return caption
        if CAPTION in self.prefix:
            return self.prefix.replace(CAPTION, caption)
        return f"{self.prefix.rstrip()} {caption}"


def _path(name: str, value: object) -> Path:
    if not isinstance(value, str | Path) or not Path(value).name:
        raise SettingsInvalid(f"option {name}: {str(value)!r} is no path of a file")
    return Path(value).expanduser()


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise SettingsInvalid(f"option {name}: {value!r} is no text")
    return str(value)


def _number(name: str, value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise SettingsInvalid(f"option {name}: {value!r} is not a whole number")
    return int(text)


def _positive(name: str, value: object) -> int:
    if not _number(name, value):
        raise SettingsInvalid(f"option {name}: {value!r} is not above 0")
    return _number(name, value)


def _share(name: str, value: object) -> float:
    try:
        share = float(str(value))
    except ValueError:
        share = -1.0
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise SettingsInvalid(f"option {name}: {value!r} is not a number from 0 to 1")
    return share


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SettingsInvalid(f"option {name}: {value!r} is not true or false")
    return value


def _character(name: str, value: object) -> str:
    text = {"tab": "\t", "\\t": "\t"}.get(str(value), str(value))
    if len(text) != 1 or text in '"\r\n\0':
        raise SettingsInvalid(f"option {name}: {value!r} is not one character")
    return text


_PARSERS = {
    "path": _path,
    "output": _path,
    "image_column": _text,
    "caption_column": _text,
    "id_column": _text,
    "delimiter": _character,
    "has_header": _flag,
    "prefix": _text,
    "limit": _number,
    "seed": _number,
    "commit_every": _positive,
    "resume": _flag,
    "retry_rejected": _flag,
    "force": _flag,
    "column_prefix": _text,
    "excel_safe": _flag,
    "max_rejection_rate": _share,
}
