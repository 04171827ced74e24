"""How the pages write instants and the time between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clip_scoring.display import NOTHING, duration


def instant(value: datetime | None) -> str:
    """UTC to the second, as `2026-01-03 02:10:05`; databases here answer in UTC or with offsets."""
    if value is None:
        return NOTHING
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def last_day(stop: datetime) -> str:
    """The last UTC day before the end of a window."""
    return f"{(stop - timedelta(microseconds=1)).astimezone(tz=UTC):%Y-%m-%d}"


def took(start: datetime | None, stop: datetime | None) -> str:
    """The time between, as `1 h 02 min`, `2 min 05 s` or `3 s`."""
    return NOTHING if start is None or stop is None else duration((stop - start).total_seconds())
