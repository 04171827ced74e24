"""What a fault run found, as text for people and as JSON beside the machine it ran on."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.mutants import Rule
from tests.faults.nemesis import Kind
from tests.faults.workers import End

LAST_WORDS = 4000


@dataclass(frozen=True)
class Report:
    """One trial; green when every fault came and every figure is 0."""

    seed: int
    rule: Rule
    records: int
    server: str
    faults: Counter[Kind]
    missed: int
    """Faults that found nobody at work any more."""
    ends: Counter[int]
    figures: Mapping[str, int]
    minutes: float
    errors: str

    @property
    def red(self) -> dict[str, int]:
        """The figures that are not 0."""
        shown = {**self.figures, "faults that never came": self.missed}
        return {name: figure for name, figure in shown.items() if figure}

    def __str__(self) -> str:
        faults = sum(self.faults.values())
        lines = [
            f"seed {self.seed}, rule {self.rule}: {faults} faults over {self.records} records"
            f" in {self.minutes:.1f} minutes; PostgreSQL {self.server},"
            f" Python {platform.python_version()}, {os.cpu_count()} cores",
            *table(self.faults),
            "workers ended",
            *table({_name(code): n for code, n in sorted(self.ends.items())}),
            "figures, all of which have to be 0",
            *table({**self.figures, "faults that never came": self.missed}),
        ]
        if self.figures["unexpected ends of workers"]:
            lines += ["last words of workers", self.errors[-LAST_WORDS:]]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "rule": self.rule,
            "records": self.records,
            "faults": {kind: self.faults[kind] for kind in Kind},
            "faults_missed": self.missed,
            "worker_ends": {_name(code): n for code, n in sorted(self.ends.items())},
            "figures": dict(self.figures),
            "minutes": round(self.minutes, 2),
        }


def document(report: Report, baselines: Sequence[Report]) -> dict[str, Any]:
    """A file of results: the trial, the same trial under rules that fail, and the machine."""
    return {
        "machine": {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
            "postgresql": report.server,
        },
        "trial": report.as_json(),
        "baselines": [each.as_json() for each in baselines],
    }


def baseline(report: Report) -> str:
    """The figures of a rule that fails, in one line."""
    found = ", ".join(f"{name} {figure}" for name, figure in report.red.items())
    return f"{report.rule} rule under the same seed: {found or 'nothing found'}"


def table(figures: Mapping[Any, int]) -> list[str]:
    """Aligned lines of name and figure."""
    return [f"  {name!s:<28}{figure:>7}" for name, figure in figures.items()]


def _name(code: int) -> str:
    if code < 0:
        return f"signal {-code}"
    return End(code).name.lower().replace("_", " ") if code in set(End) else f"code {code}"
