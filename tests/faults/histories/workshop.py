"""Workers over one database, each step of theirs beside what the ledger says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from math import inf

import pytest

from clip_scoring.database.connection import transaction
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import ShardLost
from clip_scoring.planning import finish_run, plan_run
from clip_scoring.records import Outcome, Reason, Record, Rejection, Score, screen_caption
from clip_scoring.runs import Rescore, Run, RunRequest, RunSummary, WindowKind
from clip_scoring.shards import Claim, KeyRange, successor
from tests.faults.histories import history
from tests.faults.histories.ledger import Input, Ledger, ModelRun, ModelShard
from tests.support.world import DAY, MIDDAY, NOTHING, World

SHARD_SIZE = 6


def outcome_of(record: Record) -> Outcome:
    """The same for the same input; addresses that name a reason are rejected with it."""
    if refused := screen_caption(record.caption):
        return refused
    if record.image_uri in set(Reason):
        return Rejection(Reason(record.image_uri))
    digest = sha256(f"{record.image_uri} {record.caption}".encode()).digest()
    return Score(digest[0] / 256, caption_truncated=False)


@dataclass(frozen=True)
class Batch:
    """What a worker has read and not yet committed."""

    rows: Sequence[tuple[Record, Outcome]]
    stop: int
    read_at: int


@dataclass(eq=False)
class Token:
    """A worker's belief that it may write a shard; `last` is what it committed before."""

    sink: PostgresSink
    run: Run
    claim: Claim
    shard: ModelShard
    batch: Batch | None = None
    last: tuple[Claim, Batch] | None = None


class Workshop:
    """What happens to the database happens to the ledger; the two are compared on the way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.source = world.source
        self.runs = world.runs
        self.sinks = [PostgresSink(world.engine, worker=f"worker {n}") for n in range(3)]
        self.ledger = Ledger()
        self.tokens: list[Token] = []
        world.sql(history.FORGET)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with transaction(self.world.engine) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def add(self, key: int, given: Input, day: int) -> None:
        self.world.add({key: given}, MIDDAY + timedelta(days=day))
        with self.ledger.changing([key], self.ledger.tick()):
            self.ledger.records[key] = (given, day)

    def delete(self, key: int) -> None:
        self.world.sql("DELETE FROM clip.record WHERE key = :k", k=key)
        with self.ledger.changing([key], self.ledger.tick()):
            del self.ledger.records[key]

    def change(self, key: int, given: Input) -> None:
        self.world.sql(
            "UPDATE clip.record SET image_uri = :i, caption = :c WHERE key = :k",
            k=key, i=given[0], c=given[1],
        )  # fmt: skip
        with self.ledger.changing([key], self.ledger.tick()):
            self.ledger.records[key] = (given, self.ledger.records[key][1])

    def retry_is_due(self, key: int) -> None:
        self.world.sql(
            "UPDATE clip.rejection SET next_attempt_at = now() WHERE record_key = :k", k=str(key)
        )
        tick = self.ledger.tick()
        with self.ledger.changing([key], tick):
            self.ledger.outcomes[key].due = tick

    def plan(
        self,
        key: str,
        day: int,
        kind: WindowKind,
        rescore: Rescore = Rescore.MISSING,
        batch_size: int = 2,
        limit: int | None = None,
    ) -> None:
        run = ModelRun(key, day, kind, rescore, batch_size, self.ledger.tick())
        self.ledger.plan(run, limit=limit, shard_size=SHARD_SIZE)
        plan = plan_run(self.request(run, limit), source=self.source, runs=self.runs)
        assert (plan.planned, plan.reserved) == (
            sum(each.planned for each in run.shards),
            run.reserved,
        )
        assert [(each.number, each.keys, each.planned) for each in plan.shards] == [
            (shard.number, KeyRange(shard.start, shard.stop), shard.planned) for shard in run.shards
        ]
        for shard, as_planned in zip(run.shards, plan.shards, strict=True):
            shard.id = as_planned.shard_id

    def plan_again(self, run: ModelRun) -> None:
        plan = plan_run(self.request(run, None), source=self.source, runs=self.runs)
        assert [each.shard_id for each in plan.shards] == [shard.id for shard in run.shards]

    def judge(self, run: ModelRun) -> None:
        summary = finish_run(self.runs.get(run.key), source=self.source, runs=self.runs)
        # What a later run took over is missing here, and whether that counts is not decided.
        if not any(shard.lost_rows for shard in run.shards):
            self.assert_judged(run, summary)
        self.ledger.close(run, failed=bool(summary.failures))
        # Closing may end leases or leave them to run out.
        for shard, row in zip(self.ledger.shards, self.rows(history.SHARDS), strict=True):
            if shard.run is run:
                shard.leased = bool(row[8])

    def contested(self) -> list[ModelShard]:
        shards = (shard for shard in self.ledger.shards if not shard.done)
        return [shard for shard in shards if self.ledger.overlapping(shard)]

    def unfinished(self) -> list[Token]:
        return [token for token in self.tokens if not token.claim.done]

    def overtaken(self) -> list[Token]:
        return [token for token in self.unfinished() if not self.holds(token)]

    def half_done(self) -> list[Token]:
        return [token for token in self.unfinished() if token.last is not None]

    def waiting(self) -> list[int]:
        return sorted(key for key, each in self.ledger.outcomes.items() if each.due == inf)

    def request(self, run: ModelRun, limit: int | None) -> RunRequest:
        return self.world.request(
            run.key,
            day=DAY + timedelta(days=run.day),
            window=run.kind,
            rescore=run.rescore,
            batch_size=run.batch_size,
            shard_size=SHARD_SIZE,
            limit=limit,
        )

    def claim(self, sink: PostgresSink, shard: ModelShard) -> Token | None:
        if self.ledger.claimable(shard):
            run, claim = sink.claim(shard.id, device="none")
            return self.take(sink, run, claim, shard)
        with pytest.raises(ShardLost, match="its records are reserved by run"):
            sink.claim(shard.id, device="none")
        return None

    def claim_free(self, sink: PostgresSink, run: ModelRun) -> None:
        """The first unfinished shard that nobody works on, if there is one."""
        found = self.runs.get(run.key)
        free = [
            shard
            for shard in run.shards
            if not shard.done and not (shard.worked_on and shard.leased)
        ]
        if free and not self.ledger.claimable(free[0]):
            with pytest.raises(ShardLost):
                sink.claim_free(found, device="none")
            return
        claim = sink.claim_free(found, device="none")
        assert (claim is None) == (free == [])
        if claim is not None:
            self.take(sink, found, claim, free[0])

    def take(self, sink: PostgresSink, run: Run, claim: Claim, shard: ModelShard) -> Token:
        assert (claim.shard_id, claim.checkpoint.offset) == (shard.id, shard.offset)
        assert claim.done == shard.done
        token = Token(sink, run, claim, shard)
        self.ledger.claim(shard, token)
        self.tokens.append(token)
        return token

    def holds(self, token: Token) -> bool:
        return token.shard.holder is token and not token.shard.done

    def read(self, token: Token) -> Batch:
        """The next batch on the grid, as score_shard takes it."""
        offset, stop, size = token.claim.checkpoint.offset, token.claim.stop, token.run.batch_size
        records = self.source.read_pending(token.run.selection(KeyRange(offset, stop)), size)
        expected = self.ledger.pending_keys(token.shard, int(offset))[:size]
        assert [(each.key, (each.image_uri, each.caption)) for each in records] == [
            (key, self.ledger.records[key][0]) for key in expected
        ]
        end = stop if len(records) < size else successor(records[-1].key)
        rows = [(each, outcome_of(each)) for each in records]
        token.batch = Batch(rows, int(end), self.ledger.clock)
        return token.batch

    def commit(self, token: Token) -> None:
        if token.claim.done:
            return
        batch = token.batch or self.read(token)
        if not self.holds(token):
            with pytest.raises(ShardLost):
                token.sink.commit(token.claim, batch.stop, batch.rows, NOTHING)
            self.leave(token)
            return
        token.last = (token.claim, batch)
        token.claim = token.sink.commit(token.claim, batch.stop, batch.rows, NOTHING)
        token.batch = None
        self.ledger.commit(token.shard, batch.stop, batch.rows, batch.read_at)

    def repeat(self, token: Token) -> None:
        """Commit once more what is committed already."""
        assert token.last is not None
        claim, batch = token.last
        with pytest.raises(ShardLost):
            token.sink.commit(claim, batch.stop, batch.rows, NOTHING)

    def leave(self, token: Token) -> None:
        token.sink.release(token.claim)
        if token.shard.holder is token:
            token.shard.release()
        self.tokens.remove(token)

    def expire(self, shards: Sequence[ModelShard]) -> None:
        for shard in shards:
            self.world.sql(
                "UPDATE clip.shard SET lease_until = now() - interval '1 second' WHERE id = :s",
                s=shard.id,
            )
            shard.leased = False

    def assert_runs_and_shards(self) -> None:
        runs, shards = self.ledger.runs, self.ledger.shards
        assert self.rows(history.RUNS) == [(run.key, run.state, run.reserved) for run in runs]
        found = self.rows(history.SHARDS)
        assert [row[:-1] for row in found] == [_as_row(self.ledger, shard) for shard in shards]
        for shard, row in zip(shards, found, strict=True):
            assert shard.planned + shard.arrived - shard.vanished == row[6] + row[7] + row[11]
        self.assert_fenced({row[0]: (row[12], row[3]) for row in found})

    def assert_outcomes(self) -> None:
        expected = [
            (
                key,
                written.outcome.similarity if isinstance(written.outcome, Score) else None,
                written.outcome.reason if isinstance(written.outcome, Rejection) else None,
                written.shard.id,
                written.attempts,
                {None: "never", inf: "waits"}.get(written.due, "due"),
            )
            for key, written in sorted(self.ledger.outcomes.items())
        ]
        assert self.rows(history.OUTCOMES) == expected

    def assert_fenced(self, checkpoints: dict[int, tuple[int, int]]) -> None:
        """Only holders pass the fence, and no key of two runs has two of them."""
        able = []
        for token in self.tokens:
            mine = (token.claim.checkpoint.epoch, token.claim.checkpoint.offset)
            passes = not token.shard.done and checkpoints[token.shard.id] == mine
            assert passes == self.holds(token), f"shard {token.shard.id}: {mine}"
            able += [token.shard] if passes else []
        for shard in able:
            both = [
                other for other in able if other.run is not shard.run and other.run.meets(shard.run)
            ]
            assert all(other.offset >= shard.stop or other.stop <= shard.offset for other in both)

    def assert_judged(self, run: ModelRun, summary: RunSummary) -> None:
        nets = [shard.arrived - shard.vanished for shard in run.shards]
        pending = [len(self.ledger.pending_keys(shard, shard.start)) for shard in run.shards]
        failures = []
        for shard, net, left in zip(run.shards, nets, pending, strict=True):
            if not shard.done:
                failures.append(f"shard {shard.number}: not finished, {left} pending")
            elif left > max(net, 0):
                missing = left - max(net, 0)
                failures.append(f"shard {shard.number}: {missing} without an outcome")
        assert summary.failures == tuple(failures)
        assert (summary.arrived, summary.vanished, summary.pending) == (
            sum(max(net, 0) for net in nets), sum(max(-net, 0) for net in nets), sum(pending)
        )  # fmt: skip
        assert (summary.planned, summary.scored, summary.rejected) == tuple(
            sum(getattr(shard, name) for shard in run.shards)
            for name in ("planned", "scored", "rejected")
        )


def _as_row(ledger: Ledger, shard: ModelShard) -> tuple[object, ...]:
    return (
        shard.id, shard.run.key, shard.number, shard.offset, shard.stop,
        shard.planned, shard.scored, shard.rejected, shard.leased, shard.run.state,
        shard.worked_on and not shard.done, len(ledger.pending_keys(shard, shard.start)),
    )  # fmt: skip
