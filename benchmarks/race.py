"""A race: contestants wait in processes of their own and run their rounds in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contestants.entry import Entry
from benchmarks.figures import middle

REPOSITORY = Path(__file__).parents[1]
_QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}


@dataclass(frozen=True, slots=True)
class Race:
    """What came of it, by contestant and set."""

    sizes: Mapping[str, int]
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    device_mb: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Why a contestant did not take part."""

    def rate(self, name: str, course: str) -> float:
        """Pairs per second, by the median round."""
        return self.sizes[course] / middle(self.seconds[name, course])

    def details(self) -> dict[str, list[float]]:
        """Seconds of every round."""
        return {
            f"{name}, {course}": [round(each, 4) for each in rounds]
            for (name, course), rounds in self.seconds.items()
        }


def first_cores(count: int) -> tuple[int, ...]:
    """So many of the cores that this process may use, the same at every call."""
    return tuple(sorted(os.sched_getaffinity(0)))[:count]


def race(
    teams: Mapping[str, Sequence[Entry]],
    sets: Mapping[str, int],
    rounds: int,
    courses: Mapping[str, Sequence[str]] | None = None,
) -> Race:
    """Seconds of each team for each set (name and size), in alternating order.

    A team of several processes runs them at once, and its slowest counts. `courses` names the
    sets of a team that does not run them all.
    """
    found = Race(sets)
    with ExitStack() as running:
        processes = {}
        for name, entries in teams.items():
            started = [running.enter_context(_started(each)) for each in entries]
            absent = [_answer(each).get("absent") for each in started]
            if absent[0] is None:
                processes[name] = started
            else:
                found.absent[name] = absent[0]
        for turn in range(rounds):
            for name in list(processes)[:: -1 if turn % 2 else 1]:
                for course in (courses or {}).get(name, tuple(sets)):
                    _run(found, name, course, processes[name])
    return found


def _run(found: Race, name: str, course: str, processes: Sequence[subprocess.Popen[str]]) -> None:
    for each in processes:
        print(course, file=each.stdin, flush=True)
    answers = [_answer(each) for each in processes]
    seconds = max(each["seconds"] for each in answers)
    found.seconds.setdefault((name, course), []).append(seconds)
    found.values[name, course] = _interleaved([each["values"] for each in answers])
    found.memory_mb[name] = sum(each["memory_mb"] for each in answers)
    found.device_mb[name] = sum(each["device_mb"] for each in answers)


def _interleaved(parts: Sequence[Sequence[float]]) -> list[float]:
    whole = [0.0] * sum(map(len, parts))
    for at, part in enumerate(parts):
        whole[at :: len(parts)] = part
    return whole


@contextmanager
def _started(entry: Entry) -> Iterator[subprocess.Popen[str]]:
    """The contestant's process; it ends when its input is closed."""
    environment = {**os.environ, **_QUIET, "OMP_NUM_THREADS": str(entry.threads)}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.contestants", entry.to_json()],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError(f"{' '.join(map(str, process.args))}: it ended with {process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    return answer
