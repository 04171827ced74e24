"""Metrics of a finished run, as the database keeps them and the pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clip_scoring.quality import Histogram, Ranked
from clip_scoring.runs import RunSummary, bottleneck

_PEAK = "peak_"
_NAMED = frozenset(
    {
        "stage_seconds", "pairs_per_second", "bottleneck", "devices", "rejection_rate", "pending",
        "failures", "rejections", "histogram", "drift", "lowest", "highest",
    }
)  # fmt: skip
"""Keys of the JSON that are neither counts nor peaks."""


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """Figures of one run; a run that is not finished has none of them."""

    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage, summed over the shards; `wall` is the time from batch to batch."""
    pairs_per_second: float | None = None
    bottleneck: str | None = None
    """The verdict, for instance `decode-bound: add CPU cores`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """For instance bytes, fetch_retries, backoffs."""
    peaks: Mapping[str, int] = field(default_factory=dict)
    """For instance memory_bytes of the largest worker."""
    devices: tuple[str, ...] = ()
    rejection_rate: float | None = None
    pending: int | None = None
    failures: tuple[str, ...] = ()
    """Why the run is red; empty for a green one."""
    rejections: Mapping[str, int] = field(default_factory=dict)
    """Records by reason."""
    histogram: Histogram = field(default_factory=dict)
    drift: float | None = None
    """Distance of the histogram to those of the runs before, in units of similarity."""
    lowest: Ranked = field(default_factory=list)
    highest: Ranked = field(default_factory=list)

    @classmethod
    def of_summary(
        cls,
        summary: RunSummary,
        *,
        rejections: Mapping[str, int],
        histogram: Histogram,
        drift: float | None,
        extremes: tuple[Ranked, Ranked],
    ) -> RunMetrics:
        """The metrics of a recounted run; `extremes` are its lowest and its highest pairs."""
        measures, outcomes = summary.measures, summary.scored + summary.rejected
        wall = measures.seconds.get("wall", 0.0)
        lowest, highest = extremes
        return cls(
            stage_seconds={name: round(s, 3) for name, s in sorted(measures.seconds.items())},
            pairs_per_second=round(outcomes / wall, 2) if wall else None,
            bottleneck=bottleneck(measures.seconds),
            counts=measures.counts,
            peaks=measures.peaks,
            devices=summary.devices,
            rejection_rate=round(summary.rejection_rate, 6),
            pending=summary.pending,
            failures=summary.failures,
            rejections=rejections,
            histogram=histogram,
            drift=drift,
            lowest=lowest,
            highest=highest,
        )

    def as_json(self) -> dict[str, object]:
        """A tree for `json.dumps`; counts stand at its top, peaks too under `peak_` names."""
        return {
            "stage_seconds": dict(self.stage_seconds),
            "pairs_per_second": self.pairs_per_second,
            "bottleneck": self.bottleneck,
            **self.counts,
            **{f"{_PEAK}{name}": peak for name, peak in self.peaks.items()},
            "devices": list(self.devices),
            "rejection_rate": self.rejection_rate,
            "pending": self.pending,
            "failures": list(self.failures),
            "rejections": dict(self.rejections),
            "histogram": {str(bin_index): count for bin_index, count in self.histogram.items()},
            "drift": self.drift,
            "lowest": [list(pair) for pair in self.lowest],
            "highest": [list(pair) for pair in self.highest],
        }

    @classmethod
    def of_json(cls, tree: Mapping[str, Any]) -> RunMetrics:
        """What `as_json` wrote, also in an older version: what is missing is None or empty."""
        counts = _numbers(tree)
        return cls(
            stage_seconds=tree.get("stage_seconds") or {},
            pairs_per_second=tree.get("pairs_per_second"),
            bottleneck=tree.get("bottleneck"),
            counts={name: n for name, n in counts.items() if not name.startswith(_PEAK)},
            peaks={
                name.removeprefix(_PEAK): n for name, n in counts.items() if name.startswith(_PEAK)
            },
            devices=tuple(tree.get("devices") or ()),
            rejection_rate=tree.get("rejection_rate"),
            pending=tree.get("pending"),
            failures=tuple(tree.get("failures") or ()),
            rejections=tree.get("rejections") or {},
            histogram=histogram_of_json(tree.get("histogram")),
            drift=tree.get("drift"),
            lowest=_ranked(tree.get("lowest")),
            highest=_ranked(tree.get("highest")),
        )


def _numbers(tree: Mapping[str, Any]) -> dict[str, int]:
    """Counts and peaks, which have no names of their own."""
    return {
        name: number
        for name, number in tree.items()
        if name not in _NAMED and isinstance(number, int)
    }


def histogram_of_json(tree: Mapping[str, int] | None) -> Histogram:
    """A histogram whose bins were written as text, as keys of JSON are."""
    return {int(bin_index): count for bin_index, count in (tree or {}).items()}


def _ranked(pairs: list[list[Any]] | None) -> Ranked:
    return [(key, similarity) for key, similarity in pairs or ()]
