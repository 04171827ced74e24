"""Metrics of the stages: seconds, counts and peaks; they add up from batches to runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """Seconds and counts add up; of peaks the highest stays."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage: read, fetch, decode, score, commit; `wall` is the time from batch to batch."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """For instance bytes, retries, backoffs."""
    peaks: Mapping[str, int] = field(default_factory=dict)
    """For instance memory_bytes of the worker process."""

    def __add__(self, other: StageMetrics) -> StageMetrics:
        seconds = _summed(self.seconds, other.seconds)
        return StageMetrics(
            {name: round(value, 6) for name, value in seconds.items()},
            _summed(self.counts, other.counts),
            _highest(self.peaks, other.peaks),
        )

    def as_json(self) -> dict[str, Mapping[str, float]]:
        """A tree for `json.dumps`; parts that are empty are left out."""
        parts = {"seconds": self.seconds, "counts": self.counts, "peaks": self.peaks}
        return {name: part for name, part in parts.items() if part}

    @classmethod
    def of_json(cls, tree: Mapping[str, Any]) -> StageMetrics:
        """What `as_json` wrote."""
        return cls(*(tree.get(name, _EMPTY) for name in ("seconds", "counts", "peaks")))


def _highest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    if not one or not other:
        return dict(one or other)
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})}


def _summed(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    if not one or not other:
        return dict(one or other)
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
