"""Options for scoring a CSV file, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.fields import (
    CAPTION,
    CellText,
    Character,
    Count,
    FilePath,
    Flag,
    Limit,
    Rate,
    Seed,
)
from clip_scoring.settings.problems import options_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """The file, what its columns are called, and what is made of it."""

    path: FilePath
    output: FilePath | None = None
    image_column: CellText | None = None
    caption_column: CellText | None = None
    id_column: CellText | None = None
    delimiter: Character | None = None
    has_header: Flag = True
    prefix: CellText = ""
    """A template around each caption, with `{caption}` in it, or text to stand before it."""
    limit: Count | None = None
    seed: Seed | None = None
    """With a limit: draw the rows at random, the same ones for the same seed."""
    commit_every: Limit = 10_000
    resume: Flag = True
    retry_rejected: Flag = False
    force: Flag = False
    column_prefix: CellText = ""
    excel_safe: Flag = False
    max_rejection_rate: Rate | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FileOptions:
        """From values as people and files write them; what is for others is left alone.

        Raises SettingsInvalid with a line for each wrong option: its value, what it may be.
        """
        if "path" not in given:
            raise SettingsInvalid("which file? name a CSV file, or csv_path in the --config")
        names = {field.name for field in fields(cls)}
        return options_of(cls, {name: value for name, value in given.items() if name in names})

    @property
    def image(self) -> str:
        """The column of addresses; numbers from 1 name them where there is no header."""
        return self.image_column or ("url" if self.has_header else "1")

    @property
    def caption(self) -> str:
        """The column of captions."""
        return self.caption_column or ("caption" if self.has_header else "2")

    @property
    def output_path(self) -> Path:
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
        return self.output_path.with_name(f"{self.output_path.name}.journal")

    def apply_template(self, caption: str) -> str:
        """The caption as it is scored; an empty one stays empty."""
        if not self.prefix or not caption.strip():
            return caption
        if CAPTION in self.prefix:
            return self.prefix.replace(CAPTION, caption)
        return f"{self.prefix.rstrip()} {caption}"
