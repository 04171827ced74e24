"""The model: rates, connections, seconds and limits, each by one formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from benchmarks.long_run import RECORDS as LONG_RUN_RECORDS
from benchmarks.scaling.inputs import Assumptions, Measured
from benchmarks.scaling.towers import GPUS, gflop_a_pair

MILLION = 1_000_000
MOST_SHARDS = 1000
"""Of one run, `clip_scoring.shards`; a shard has one worker."""
CONNECTIONS_A_WORKER = 2
"""One commits, one reads ahead: `clip_scoring.nightly`."""
CONNECTIONS_BESIDE = 6
"""Four of the pages (`clip_scoring.nightly.pages`), two of planning or finishing."""
SETTLED_RECORDS = 3 * MILLION
"""In the source of `plan 3,000,000, half of them settled`."""
RESERVED = 3
"""PostgreSQL keeps so many of `max_connections` for superusers."""
CORES_MEASURED = 2
"""Of the rows that say so."""


@dataclass(frozen=True, slots=True)
class Model:
    """Measured figures and assumptions; every method is one formula of the page."""

    found: Mapping[str, Measured]
    given: Assumptions

    def value(self, name: str) -> float:
        return self.found[name].value

    def loading(self, tier: str, pictures: str) -> float:
        """Images/s of a core while all are busy; `exact` costs as much more as it does alone."""
        fast = self.value(f"load {pictures}") / CORES_MEASURED
        share = self.value(f"exact {pictures}") / self.value(f"fast {pictures}")
        return fast if tier == "fast" else fast * share

    def cpu(self, dtype: str) -> float:
        """Pairs/s of a core that loads and scores ViT-B/32 while all cores are busy."""
        busy = self.value("float32, 2 cores") / CORES_MEASURED
        return busy * self.value(dtype) / self.value("float32")

    def gpu_towers(self, weights: str, gpu: str = "") -> float:
        """Pairs/s by arithmetic: peak × utilisation / work of a pair. Calculated, not measured."""
        work = gflop_a_pair(weights, self.given.caption_tokens)
        return GPUS[gpu or self.given.gpu] * 1000 * self.given.utilisation / work

    def gpu_loading(self) -> float:
        """Images/s of the cores beside one GPU, tier fast."""
        return self.given.cores_a_gpu * self.loading("fast", self.given.pictures)

    def gpu(self, weights: str, gpu: str = "") -> float:
        """Pairs/s of a GPU with its cores: the slower of towers and loading."""
        return min(self.gpu_towers(weights, gpu), self.gpu_loading())

    def busy(self, rate: float) -> float:
        """Connections in use on average: transactions a second × seconds of each."""
        return rate * (1 / self.value("commit") + self.value("read") / LONG_RUN_RECORDS)

    def pool(self, rate: float) -> int:
        """Server connections of pgbouncer."""
        return ceil(self.given.peak_factor * self.busy(rate)) + CONNECTIONS_BESIDE

    def planning_seconds(self, pending: float) -> float:
        """Of a source that holds nothing but what is pending."""
        return pending / MILLION * self.value("plan")

    def judging_seconds(self, pairs: float) -> float:
        """Of one run: recount, histogram, extremes."""
        return pairs / LONG_RUN_RECORDS * self.value("judge")

    def reading_seconds(self, records: float) -> float:
        """Planning over a source that also keeps what is settled, by records in it."""
        return records * self.value("plan settled") / SETTLED_RECORDS


@dataclass(frozen=True, slots=True)
class Limit:
    """Up to how many pairs a day one part suffices as it is."""

    part: str
    pairs: float
    formula: str
    then: str


def limits(model: Model) -> list[Limit]:
    """All parts, the one that gives way first at the top."""
    given, int8 = model.given, model.cpu("int8")
    night, minutes = given.night_hours * 3600, f"{given.planning_minutes:g} min"
    most = given.planning_minutes * 60
    direct = (given.max_connections - RESERVED - CONNECTIONS_BESIDE) // CONNECTIONS_A_WORKER
    parts = [
        Limit("the machine of the figures, ViT-B/32 in float32",
              CORES_MEASURED * model.cpu("float32") * night,
              f"{CORES_MEASURED} cores × pairs/s of a core × window", "more workers, or a GPU"),
        Limit(f"planning, with {given.days_kept} days of records in the source",
              most / model.reading_seconds(1) / given.days_kept,
              f"{minutes} / seconds a record / days", "a view of what is recent as the source"),
        Limit("connections without pgbouncer, CPU workers in int8", direct * int8 * night,
              f"({given.max_connections} - {RESERVED} reserved - {CONNECTIONS_BESIDE}) / "
              f"{CONNECTIONS_A_WORKER} workers × pairs/s of a core × window", "pgbouncer"),
        Limit(f"{MOST_SHARDS:,} shards of a run, on as many CPU cores in int8",
              MOST_SHARDS * int8 * night,
              "shards × pairs/s of a core × window", "GPUs, or several sources"),
        Limit("judging one run", most / model.judging_seconds(1),
              f"{minutes} / seconds a pair", "several sources"),
        Limit("planning, nothing but what is pending in the source",
              most / model.planning_seconds(1), f"{minutes} / seconds a pair", "several sources"),
        Limit(f"one writer, {given.batch_size} pairs a commit", model.value("commit") * night,
              "rows/s × window", "larger batches; several writers were not measured"),
    ]  # fmt: skip
    return sorted(parts, key=lambda each: each.pairs)
