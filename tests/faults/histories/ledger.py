"""What must be true of runs, shards and outcomes after any history, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from clip_scoring.records import RETRIES, Outcome, Record, Rejection, Score
from clip_scoring.runs import Rescore, WindowKind

Input = tuple[str, str]
"""Address of the image and caption: what an outcome is an outcome of."""


@dataclass
class Written:
    """The outcome of a record and who wrote it."""

    outcome: Outcome
    given: Input
    shard: ModelShard
    attempts: int
    at: int
    due: float | None
    """When it is tried again: a tick that has come, `inf` while it waits, None for never."""


@dataclass
class ModelRun:
    """A run as it was asked for; `as_of` is the tick of its planning."""

    key: str
    day: int
    kind: WindowKind
    rescore: Rescore
    batch_size: int
    as_of: int
    reserved: int = 0
    state: str = "running"
    shards: list[ModelShard] = field(default_factory=list)

    def meets(self, other: ModelRun) -> bool:
        """Whether the windows of both have a day in common."""
        return all(
            one.kind is WindowKind.UP_TO_DAY or one.day <= another.day
            for one, another in ((self, other), (other, self))
        )

    @property
    def alive(self) -> bool:
        """Under way, and at least one lease has not run out."""
        return self.state == "running" and any(shard.leased for shard in self.shards)


@dataclass(eq=False)
class ModelShard:
    """A shard and everything that is counted of it."""

    run: ModelRun
    number: int
    start: int
    stop: int
    planned: int
    offset: int
    id: int = 0
    leased: bool = True
    worked_on: bool = False
    holder: object | None = None
    """The one claim that may still commit."""
    scored: int = 0
    rejected: int = 0
    arrived: int = 0
    vanished: int = 0
    written: set[int] = field(default_factory=set)
    lost_rows: int = 0
    """Outcomes of this shard that another shard has written anew since."""

    @property
    def done(self) -> bool:
        return self.offset == self.stop

    def release(self) -> None:
        """Void the claim on it."""
        self.holder, self.worked_on = None, False


class Ledger:
    """Predicts each step of planning, claiming and committing, one record at a time."""

    def __init__(self) -> None:
        self.records: dict[int, tuple[Input, int]] = {}
        self.outcomes: dict[int, Written] = {}
        self.touched: dict[int, int] = {}
        self.runs: list[ModelRun] = []
        self.clock = 0

    @property
    def shards(self) -> list[ModelShard]:
        return [shard for run in self.runs for shard in run.shards]

    def tick(self) -> int:
        """The next instant."""
        self.clock += 1
        return self.clock

    def pending(self, run: ModelRun, key: int) -> bool:
        """Whether the record is pending for the run, by the words of the glossary."""
        if key not in self.records:
            return False
        given, day = self.records[key]
        if day > run.day or (run.kind is WindowKind.DAY and day != run.day):
            return False
        old = self.outcomes.get(key)
        return old is None or not _settled(run, old, given)

    def pending_keys(self, shard: ModelShard, start: int) -> list[int]:
        """Keys of the shard from `start` on that are pending for its run."""
        keys = range(start, shard.stop)
        return [key for key in keys if self.pending(shard.run, key)]

    def weight(self, shard: ModelShard, key: int) -> int:
        """How often a record counts in its shard: once when written and once while pending."""
        pending = shard.start <= key < shard.stop and self.pending(shard.run, key)
        return (key in shard.written) + pending

    @contextmanager
    def changing(self, keys: Iterable[int], tick: int) -> Iterator[None]:
        """Whatever enters or leaves a shard meanwhile has arrived or vanished there."""
        cells = [(shard, key) for shard in self.shards for key in keys]
        before = [self.weight(shard, key) for shard, key in cells]
        yield
        self.touched.update(dict.fromkeys(keys, tick))
        for (shard, key), weight in zip(cells, before, strict=True):
            moved = self.weight(shard, key) - weight
            shard.arrived += max(moved, 0)
            shard.vanished += max(-moved, 0)

    def plan(self, run: ModelRun, *, limit: int | None, shard_size: int) -> None:
        """Give the run its shards; runs under way whose leases all ran out are abandoned."""
        for other in self.runs:
            if other.state == "running" and not other.alive:
                other.state = "abandoned"
                for shard in filter(lambda each: not each.done, other.shards):
                    shard.release()
        taken = [
            (shard.offset, shard.stop)
            for shard in self.shards
            if shard.run.state == "running" and not shard.done and shard.run.meets(run)
        ]
        pending = [key for key in sorted(self.records) if self.pending(run, key)]
        run.reserved = sum(any(start <= key < stop for start, stop in taken) for key in pending)
        free = [key for key in pending if not any(a <= key < b for a, b in taken)]
        size = -(-shard_size // run.batch_size) * run.batch_size
        for group in _between(free[:limit], [start for start, _ in _united(taken)]):
            chunks = [group[at : at + size] for at in range(0, len(group), size)]
            stops = [chunk[0] for chunk in chunks[1:]] + [group[-1] + 1]
            for chunk, stop in zip(chunks, stops, strict=True):
                number = len(run.shards)
                run.shards.append(
                    ModelShard(run, number, chunk[0], stop, len(chunk), offset=chunk[0])
                )
        self.runs.append(run)

    def overlapping(self, shard: ModelShard) -> list[ModelShard]:
        """Unfinished shards of other runs under way that share keys with what is left of it."""
        return [
            other
            for other in self.shards
            if other.run is not shard.run
            and other.run.state == "running"
            and other.run.meets(shard.run)
            and not other.done
            and other.offset < shard.stop
            and other.stop > shard.offset
        ]

    def claimable(self, shard: ModelShard) -> bool:
        """Whether nobody alive works on the range of the shard, or waits to."""
        return shard.done or not any(other.leased for other in self.overlapping(shard))

    def claim(self, shard: ModelShard, holder: object) -> None:
        """Hand the shard over; a claim of another run that outlived its lease is void by it."""
        if not shard.done:
            for other in self.overlapping(shard):
                other.release()
            shard.run.state = "running"
        shard.leased, shard.worked_on, shard.holder = True, True, holder

    def commit(
        self, shard: ModelShard, offset: int, rows: Sequence[tuple[Record, Outcome]], read_at: int
    ) -> None:
        """Write a batch; a record that nobody touched since it was read leaves pending for good."""
        arrived, vanished = shard.arrived, shard.vanished
        quiet = all(self.touched.get(int(record.key), 0) <= read_at for record, _ in rows)
        with self.changing([int(record.key) for record, _ in rows], self.tick()):
            for record, outcome in rows:
                self._write(shard, record, outcome)
        assert not quiet or (arrived, vanished) == (shard.arrived, shard.vanished)
        shard.offset, shard.leased = offset, True

    def _write(self, shard: ModelShard, record: Record, outcome: Outcome) -> None:
        key, given = int(record.key), (record.image_uri, record.caption)
        old = self.outcomes.get(key)
        if old is not None and old.shard is not shard:
            old.shard.lost_rows += 1
        attempts = 1
        if (
            isinstance(outcome, Rejection)
            and old is not None
            and isinstance(old.outcome, Rejection)
            and old.given == given
        ):
            attempts = old.attempts + 1
        retry = RETRIES.get(outcome.reason) if isinstance(outcome, Rejection) else None
        due = inf if retry is not None and attempts < retry.attempts else None
        self.outcomes[key] = Written(outcome, given, shard, attempts, self.clock, due)
        shard.written.add(key)
        shard.scored += isinstance(outcome, Score)
        shard.rejected += isinstance(outcome, Rejection)

    def close(self, run: ModelRun, *, failed: bool) -> None:
        """The run is over; claims that are left on it are void."""
        run.state = "failed" if failed else "succeeded"
        for shard in filter(lambda each: not each.done, run.shards):
            shard.release()


def _settled(run: ModelRun, old: Written, given: Input) -> bool:
    since_planning = old.at > run.as_of
    if run.rescore is Rescore.ALL:
        return since_planning
    if old.given != given:
        return False
    if isinstance(old.outcome, Score) or (run.rescore is Rescore.REJECTED and since_planning):
        return True
    return run.rescore is Rescore.MISSING and (old.due is None or old.due > run.as_of)


def _united(taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same keys without ranges that touch or overlap."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(taken):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def _between(keys: Sequence[int], fences: Sequence[int]) -> Iterator[list[int]]:
    """Runs of keys with no fence between them."""
    group: list[int] = []
    for key in keys:
        if group and any(group[-1] < fence <= key for fence in fences):
            yield group
            group = []
        group.append(key)
    if group:
        yield group
