"""Any history of planning, working, dying and changing records leaves the database as the ledger
says; MODEL_SEEDS=600 plays 4800 histories, MODEL_STEPS=80 longer ones, MODEL_SHRINK=1 shortens the
one that fails."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, create_engine

from clip_scoring.errors import DatabaseUnreachable
from clip_scoring.runs import Rescore, WindowKind
from tests.faults.histories import history
from tests.faults.histories.ledger import Input
from tests.faults.histories.workshop import Workshop
from tests.support.world import NOTHING, World

MOST_RUNS = 6
HISTORIES = 8
"""For one seed; after ten Hypothesis would rather vary old ones than draw new ones."""
SEEDS = int(os.environ.get("MODEL_SEEDS", "8"))
SETTINGS = settings(
    max_examples=HISTORIES,
    stateful_step_count=int(os.environ.get("MODEL_STEPS", "40")),
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink] if "MODEL_SHRINK" in os.environ else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)

T = TypeVar("T")

KEYS = st.integers(1, 24)
DAYS = st.sampled_from([1, 1, 0, 2])
INPUTS = st.tuples(
    st.sampled_from(
        ["image", "image", "other", "timeout", "image_decoder_crashed", "http_404_410"]
    ),
    st.sampled_from(["a", "b", "c", ""]),
)
ANY = st.integers(0, 999)
"""Picks one of whatever there is, by its remainder."""


class Machine(RuleBasedStateMachine):
    """Workers over one database, each with claims of its own; the ledger predicts every step."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.shop = Workshop(world)

    # Records come, go and change.

    @initialize(inputs=st.lists(st.tuples(INPUTS, DAYS), min_size=8, max_size=12))
    def begin(self, inputs: list[tuple[Input, int]]) -> None:
        for at, (given, day) in enumerate(inputs):
            self.shop.add(2 * at + 2, given, day)
        self.shop.plan("first", 2, WindowKind.UP_TO_DAY)

    @rule(n=KEYS, given=INPUTS, day=DAYS, deleted=st.booleans())
    def change_record(self, n: int, given: Input, day: int, deleted: bool) -> None:
        if n not in self.shop.ledger.records:
            self.shop.add(n, given, day)
        elif deleted:
            self.shop.delete(n)
        else:
            self.shop.change(n, given)

    @rule(n=ANY)
    @precondition(lambda self: self.shop.waiting())
    def due_retry(self, n: int) -> None:
        self.shop.retry_is_due(_pick(self.shop.waiting(), n))

    # Runs are planned and judged.

    @rule(
        day=DAYS,
        kind=st.sampled_from(WindowKind),
        rescore=st.sampled_from([Rescore.MISSING, Rescore.ALL, Rescore.MISSING, Rescore.REJECTED]),
        batch_size=st.sampled_from([2, 3]),
        limit=st.sampled_from([None, None, 5]),
        others_stalled=st.booleans(),
    )
    @precondition(lambda self: len(self.shop.ledger.runs) < MOST_RUNS)
    def plan(self, others_stalled: bool, **options: Any) -> None:
        if others_stalled:
            self.shop.expire(self.shop.ledger.shards)
        self.shop.plan(f"run {len(self.shop.ledger.runs)}", **options)

    @rule(n=ANY, planned_again=st.booleans())
    def judge(self, n: int, planned_again: bool) -> None:
        run = _pick(self.shop.ledger.runs, n)
        if planned_again:
            self.shop.plan_again(run)
        self.shop.judge(run)

    # Workers claim, read, commit and die.

    @rule(who=ANY, n=ANY, contested=st.booleans())
    @precondition(lambda self: self.shop.ledger.shards)
    def claim(self, who: int, n: int, contested: bool) -> None:
        shards = (contested and self.shop.contested()) or self.shop.ledger.shards
        self.shop.claim(_pick(self.shop.sinks, who), _pick(shards, n))

    @rule(who=ANY, n=ANY)
    @precondition(lambda self: self.shop.ledger.shards)
    def claim_free(self, who: int, n: int) -> None:
        run = _pick(self.shop.ledger.shards, n).run
        self.shop.claim_free(_pick(self.shop.sinks, who), run)

    @rule(n=ANY)
    @precondition(lambda self: self.shop.unfinished())
    def read(self, n: int) -> None:
        self.shop.read(_pick(self.shop.unfinished(), n))

    @rule(n=ANY)
    @precondition(lambda self: self.shop.unfinished())
    def commit(self, n: int) -> None:
        self.shop.commit(_pick(self.shop.unfinished(), n))

    @rule(n=ANY)
    @precondition(lambda self: self.shop.unfinished())
    def finish_shard(self, n: int) -> None:
        token = _pick(self.shop.unfinished(), n)
        while token in self.shop.tokens and not token.claim.done:
            self.shop.commit(token)

    @rule(n=ANY)
    @precondition(lambda self: self.shop.overtaken())
    def late_commit(self, n: int) -> None:
        self.shop.commit(_pick(self.shop.overtaken(), n))

    @rule(n=ANY)
    @precondition(lambda self: self.shop.half_done())
    def repeated_commit(self, n: int) -> None:
        self.shop.repeat(_pick(self.shop.half_done(), n))

    @rule(n=ANY, applied=st.booleans())
    @precondition(lambda self: any(map(self.shop.holds, self.shop.tokens)))
    def commit_with_lost_reply(self, n: int, applied: bool) -> None:
        token = _pick([each for each in self.shop.tokens if self.shop.holds(each)], n)
        batch = token.batch or self.shop.read(token)
        if applied:
            with _lost_reply(self.shop.world.engine, applied=True):
                self.shop.commit(token)
            return
        with _lost_reply(self.shop.world.engine, applied=False), pytest.raises(DatabaseUnreachable):
            token.sink.commit(token.claim, batch.stop, batch.rows, NOTHING)

    @rule(who=ANY, n=ANY)
    @precondition(lambda self: self.shop.ledger.shards)
    def score_what_is_left(self, who: int, n: int) -> None:
        for shard in _pick(self.shop.ledger.shards, n).run.shards:
            token = self.shop.claim(_pick(self.shop.sinks, who), shard)
            while token is not None and not shard.done:
                self.shop.commit(token)

    @rule(n=ANY, in_good_order=st.booleans())
    @precondition(lambda self: self.shop.tokens)
    def leave(self, n: int, in_good_order: bool) -> None:
        token = _pick(self.shop.tokens, n)
        if in_good_order:
            self.shop.leave(token)
        else:
            self.shop.tokens.remove(token)

    @rule(n=ANY, whole_run=st.booleans())
    @precondition(lambda self: self.shop.ledger.shards)
    def leases_run_out(self, n: int, whole_run: bool) -> None:
        shard = _pick(self.shop.ledger.shards, n)
        self.shop.expire(shard.run.shards if whole_run else [shard])

    # What holds after every step.

    @invariant()
    def everything_is_as_the_ledger_says(self) -> None:
        assert self.shop.rows(history.VIOLATIONS) == []
        self.shop.assert_runs_and_shards()
        self.shop.assert_outcomes()


def _pick(several: Sequence[T], n: int) -> T:
    return several[n % len(several)]


@contextmanager
def _lost_reply(engine: Engine, *, applied: bool) -> Iterator[None]:
    """The next COMMIT takes effect or does not, and nobody hears of it."""
    dialect = engine.dialect
    genuine = dialect.do_commit

    def lose(connection: psycopg2.extensions.connection) -> None:
        dialect.do_commit = genuine
        if applied:
            genuine(connection)
        raise psycopg2.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = lose
    try:
        yield
    finally:
        dialect.do_commit = genuine


@pytest.mark.parametrize("number", range(SEEDS))
def test_the_database_is_what_the_ledger_says_after_every_step(engine: Engine, number: int) -> None:
    keeping_connections = create_engine(engine.url)
    world = World(keeping_connections)
    world.sql(history.HISTORY)
    machine = seed(number)(lambda: Machine(world))
    run_state_machine_as_test(machine, settings=SETTINGS)
    keeping_connections.dispose()
