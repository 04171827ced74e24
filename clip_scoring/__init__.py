"""Scores image–caption pairs with CLIP; imports no Airflow.

from clip_scoring import Record, score_pairs

for outcome in score_pairs([Record(1, "cat.jpg", "a photo of a cat")]):
    print(outcome)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clip_scoring.records import Outcome, Reason, Record, Rejection, Score

if TYPE_CHECKING:
    from clip_scoring.api import Scorer, score_pairs

__all__ = ["Outcome", "Reason", "Record", "Rejection", "Score", "Scorer", "score_pairs"]


def __getattr__(name: str) -> Any:
    """Names that need torch or clients are imported when somebody asks for them."""
    if name in {"Scorer", "score_pairs"}:
        return getattr(import_module("clip_scoring.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
