"""Figures beside their baselines: timing in turns, printing, and keeping them as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.machine import machine
from clip_scoring.filesystem import atomic_write

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, mostly a median, and what it is compared with."""

    what: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_what: str = ""
    targets: Mapping[str, bool] = field(default_factory=dict)
    """Each target in words, and whether it was met."""

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of its baseline."""
        return None if self.baseline is None else self.value / self.baseline


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one benchmark and what they were made from."""

    figures: Sequence[Figure]
    postgresql: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Rows that could not be measured here, and why."""


def in_turns(
    repeats: int, timed: Mapping[str, Callable[[], object]], between: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of each, `repeats` times in alternating order, so that a slow minute hits all.

    `between` tidies up after each call and is not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(repeats):
        for name in list(timed)[:: -1 if turn % 2 else 1]:
            started = perf_counter()
            timed[name]()
            seconds[name].append(perf_counter() - started)
            between()
    return seconds


def middle(values: Sequence[float]) -> float:
    """The median, to six digits."""
    return round(median(values), 6)


def written(value: float) -> str:
    """For people: two digits after the point, or two in all of what is very small."""
    return f"{value:,.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"


def show(name: str, result: Result) -> None:
    """Print one line per figure."""
    print(f"\n{name}")
    for each in result.figures:
        line = f"  {each.what:<46}{written(each.value):>12} {each.unit:<9}"
        if each.baseline is not None:
            ratio = each.value / each.baseline
            line += f"{ratio:>6.2f}x of {each.baseline_what} ({written(each.baseline)})"
        for target, met in each.targets.items():
            line += f"  [{target}: {'met' if met else 'MISSED'}]"
        print(line, flush=True)
    for what, why in result.missing.items():
        print(f"  {what:<46}{why}", flush=True)


def keep(name: str, result: Result) -> None:
    """Write the figures with the machine they were measured on to `results/<name>.json`."""
    tree = {
        "benchmark": name,
        "measured_on": datetime.now(UTC).date().isoformat(),
        "machine": machine() | ({"postgresql": result.postgresql} if result.postgresql else {}),
        "figures": [_rounded({**asdict(each), "ratio": each.ratio}) for each in result.figures],
        "missing": result.missing,
        "details": result.details,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(tree, indent=2, ensure_ascii=False) + "\n"
    atomic_write(RESULTS / f"{name}.json", text)


def _rounded(tree: dict[str, object]) -> dict[str, object]:
    return {
        k: float(f"{each:.6g}") if isinstance(each, float) else each for k, each in tree.items()
    }
