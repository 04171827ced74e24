"""How the pages write values: numbers, instants, and text that others wrote."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

_LONGEST_ADDRESS = 300


def number(value: float | None, digits: int = 0) -> str:
    """With thousands apart: `1,234`; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """A share as `1.2 %`."""
    return "–" if share is None else f"{100 * share:.1f} %"


def similarity(value: float | None) -> str:
    """Four digits: more are noise between devices."""
    return "–" if value is None else f"{value:.4f}"


def instant(value: datetime | None) -> str:
    """UTC to the second, as `2026-01-03 02:10:05`; databases here answer in UTC or with offsets."""
    if value is None:
        return "–"
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def last_day(stop: datetime) -> str:
    """The last UTC day before the end of a window."""
    return f"{(stop - timedelta(microseconds=1)).astimezone(tz=UTC):%Y-%m-%d}"


def took(start: datetime | None, stop: datetime | None) -> str:
    """The time between, as `1 h 02 min`, `2 min 05 s` or `3 s`."""
    return "–" if start is None or stop is None else seconds((stop - start).total_seconds())


def seconds(value: float | None) -> str:
    """A duration in the two units that matter."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, left = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s"


def visible(text: str) -> str:
    """Text that others wrote, with every character that is not seen written out as its code.

    What turns the direction of text around, for instance U+202E, could make it read as something
    else.
    """
    return "".join(
        each if each in "\n\t " or not _hidden(each) else f"⟨U+{ord(each):04X}⟩" for each in text
    )


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def shortened(text: str, most: int) -> str:
    """At most so many characters, with an ellipsis where some are missing."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def address(uri: str) -> str:
    """An image's address without query, fragment and login: signatures are secrets."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return visible(shortened(uri.partition("?")[0], _LONGEST_ADDRESS))
    if parts.scheme not in {"http", "https"}:
        return visible(shortened(uri, _LONGEST_ADDRESS))
    host = parts.netloc.rpartition("@")[2]
    query = "?…" if parts.query else ""
    bare = f"{parts.scheme}://{host}{parts.path}{query}"
    return visible(shortened(bare, _LONGEST_ADDRESS))
