"""Colours of the report, by day and by night; the page and its plots share them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as `#rrggbb`."""

    back: str
    """Behind the page."""
    card: str
    """Behind plots and pairs."""
    text: str
    faint: str
    line: str
    main: str
    """Bars and lines of a plot; `good` and `bad` stand beside it."""
    good: str
    bad: str


LIGHT = Palette(
    back="#f3f5f8",
    card="#ffffff",
    text="#1b2430",
    faint="#55616f",
    line="#d8dfe7",
    main="#2f6fc4",
    good="#0c7a5b",
    bad="#c0461f",
)
DARK = Palette(
    back="#0e1116",
    card="#171c23",
    text="#e6e9ee",
    faint="#a3afbd",
    line="#313a45",
    main="#6aa8f2",
    good="#41c79b",
    bad="#f28d5e",
)
