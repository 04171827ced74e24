"""A long run with a scorer that costs nothing: memory, open files and speed stay what they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from benchmarks.database import fresh_world, in_process, vacuum, version_of, world_of_process
from benchmarks.figures import Figure, Result
from benchmarks.machine import memory_mb, open_files
from clip_scoring.database.sink import PostgresSink
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Key, Outcome, Record
from clip_scoring.runs import Run
from clip_scoring.scoring import Worker, score_shard
from clip_scoring.shards import Claim

RECORDS, QUICK_RECORDS = 1_000_000, 100_000
OPTIONS = {"batch_size": 1000, "shard_size": 10_000}
COLUMNS = ("records", "seconds", "memory_mb", "open_files")
STAGES = ("read", "score", "commit")


def measure(quick: bool) -> Result:
    """Score a million records in one process and judge the run."""
    records = QUICK_RECORDS if quick else RECORDS
    with fresh_world(durable=True) as world:
        world.add_many(records)
        vacuum(world)
        world.plan("long", **OPTIONS)
        samples = in_process("benchmarks.long_run", world)
        started = perf_counter()
        summary = world.judge("long")
        judging = perf_counter() - started
        if summary.failures or summary.scored != records:
            raise RuntimeError(f"{summary}: {summary.failures}")
        return Result(
            [*_figures(np.array(samples)), *_shares(summary.measures.seconds, samples, judging)],
            version_of(world),
            {"columns": COLUMNS, "samples": samples[:: max(len(samples) // 100, 1)]},
        )


def _figures(samples: np.ndarray) -> list[Figure]:
    """Shape (commits, 4), columns as in COLUMNS; the first tenth is left to warm up."""
    done, seconds, memory, files = samples.T
    warm = done >= done[-1] / 10
    late = done >= done[-1] * 0.9
    early = warm & (done <= done[-1] * 0.2)
    slope = float(np.polyfit(done[warm] / 1e6, memory[warm], 1)[0])
    spread, open_spread = float(np.ptp(memory[warm])), float(np.ptp(files[warm]))
    rates = [float(np.ptp(done[part]) / np.ptp(seconds[part])) for part in (late, early)]
    first = float(memory[warm][0])
    return [
        Figure("pairs per second, whole run", float(done[-1] / seconds[-1]), "/s"),
        Figure("pairs per second, last tenth", rates[0], "/s", rates[1], "the second tenth",
               {">= 0.8x": rates[0] >= 0.8 * rates[1]}),
        Figure("memory at the end", float(memory[-1]), "MB", first, "that at 10 %"),
        Figure("memory, highest - lowest from 10 % on", spread, "MB",
               targets={"<= 8": spread <= 8}),
        Figure("memory, slope per million records", slope, "MB", targets={"<= 8": slope <= 8}),
        Figure("open files at the end", float(files[-1]), "files", float(files[warm][0]),
               "those at 10 %"),
        Figure("open files, most - fewest from 10 % on", open_spread, "files",
               targets={"<= 3": open_spread <= 3}),
    ]  # fmt: skip


def _shares(
    stages: Mapping[str, float], samples: Sequence[Sequence[float]], judging: float
) -> list[Figure]:
    """Stages as measured by the run itself; reading runs ahead, beside scoring and committing."""
    wall = stages["wall"]
    took = samples[-1][COLUMNS.index("seconds")]
    return [
        *(Figure(f"{name}", stages[name], "s", wall, "wall time of the shards") for name in STAGES),
        Figure("judging the run", judging, "s", took, "scoring it"),
    ]


class WatchedSink:
    """The sink, looking at its own process after each commit."""

    def __init__(self, inner: PostgresSink) -> None:
        self._inner = inner
        self._started = perf_counter()
        self._done = 0
        self.samples: list[tuple[int, float, float, int]] = []

    def claim(self, shard_id: int, *, device: str) -> tuple[Run, Claim]:
        """As the sink does."""
        return self._inner.claim(shard_id, device=device)

    def renew(self, claim: Claim) -> None:
        self._inner.renew(claim)

    def claim_free(self, run: Run, *, device: str) -> Claim | None:
        """As the sink does."""
        return self._inner.claim_free(run, device=device)

    def release(self, claim: Claim) -> None:
        """As the sink does."""
        self._inner.release(claim)

    def commit(
        self,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        measures: StageMetrics,
    ) -> Claim:
        """As the sink does, with a sample of COLUMNS after it."""
        moved = self._inner.commit(claim, offset, outcomes, measures)
        self._done += len(outcomes)
        took = round(perf_counter() - self._started, 3)
        self.samples.append((self._done, took, memory_mb("VmRSS"), open_files()))
        return moved


def _work() -> None:
    """In a process of its own: score shard after shard and print the samples."""
    world = world_of_process()
    source, run = world.source, world.runs.get("long")
    sink = WatchedSink(PostgresSink(world.engine))
    while claim := sink.claim_free(run, device=world.scorer.device):
        worker = Worker(source, world.loader, world.scorer, sink)
        score_shard(run, claim, worker=worker)
    json.dump(sink.samples, sys.stdout)


if __name__ == "__main__":
    _work()
