"""Named points around claim, batch, commit and close, at which a process can be told to die.

A test writes an order; the process that it names sends the signal to itself when it reaches the
point, after leaving a marker, and never twice. Nothing of the product knows of this.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import local
from types import ModuleType
from typing import Any

ORDERS = "orders.json"
SHARES = "shares.jsonl"
WORKER, SECONDS_A_BATCH = "CLIP_WORKER", "CLIP_SECONDS_A_BATCH"
PLANNING, RUNNING = "clip_scoring.nightly.plan", "clip_scoring.nightly.run"
STATEMENTS = {
    # name in queries.sql: (point before it is sent, point after it has taken effect)
    "claim_shard": ("before the claim", "claim written"),
    "move_checkpoint": ("before the checkpoint moves", "checkpoint moved"),
    "put_scores": (None, "scores put"),
    "drop_rejections": (None, "old rejections dropped"),
    "put_rejections": (None, "rejections put"),
    "drop_scores": (None, "old scores dropped"),
    "close_run": (None, "run closed"),
    "note_planned": (None, "shards added"),
}
TRANSACTIONS = {"claim_shard": "claim", "close_run": "close", "note_planned": "plan"}
"""Statements that give their transaction a name; a batch's has one from the start."""


@dataclass
class Order:
    """What this process is to do to itself: at which point, reached how often, which signal."""

    point: str
    times: int
    number: int
    marker: Path
    seen: int = 0

    def reached(self, point: str) -> None:
        """Obey once, with a marker that outlives this process; later processes go on."""
        if point != self.point or self.marker.exists():
            return
        self.seen += 1
        if self.seen == self.times:
            partial = self.marker.with_suffix(".part")
            partial.write_text(json.dumps({"point": point, "pid": os.getpid()}))
            partial.rename(self.marker)
            os.kill(os.getpid(), self.number)


@dataclass
class Bystander:
    """Tells the order of this process, if there is one, what is reached."""

    folder: Path
    order: Order | None = None
    inside: local = field(default_factory=local)

    def find_order(self, run_key: str, part: str) -> None:
        """Look up what the test wants of this part of this run: `plan`, `finish` or `shard N`."""
        orders = self.folder / ORDERS
        found = json.loads(orders.read_text()).get(run_key, {}) if orders.exists() else {}
        if (wanted := found.get(part)) is None:
            return
        marker = self.folder / run_key.replace("/", " ") / f"{part}.json"
        marker.parent.mkdir(exist_ok=True)
        number = signal.Signals[wanted["signal"]]
        self.order = Order(wanted["point"], wanted["times"], number, marker)

    def note_share(self, run_key: str, number: int) -> None:
        """Which worker takes the shard, where the workers have names."""
        if worker := os.environ.get(WORKER):
            with (self.folder / SHARES).open("a") as shares:
                shares.write(json.dumps([run_key, worker, number]) + "\n")

    def reached(self, point: str | None) -> None:
        if self.order is not None and point is not None:
            self.order.reached(point)

    def with_point(self, of: object, method: str, *, after: str) -> Instrumented:
        """The same object, with a point behind one of its methods."""
        return Instrumented(of, method, self._around(getattr(of, method), after))

    def _around(self, method: Callable[..., Any], after: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            self.reached(after)
            return answer

        return called


class Instrumented:
    """Passes everything on to another object, but for one method."""

    def __init__(self, of: object, name: str, replacement: Callable[..., Any]) -> None:
        self._of, self._name, self._replacement = of, name, replacement

    def __getattr__(self, name: str) -> Any:
        return self._replacement if name == self._name else getattr(self._of, name)


def wait_for_nightly(folder: Path) -> None:
    """Step in as soon as this process loads what the tasks call, which only workers do."""
    sys.meta_path.insert(0, NightlyFinder(Bystander(folder)))


class NightlyFinder(MetaPathFinder):
    """Wraps what the tasks call when it is loaded, and leaves all else to the other finders."""

    def __init__(self, bystander: Bystander) -> None:
        self._bystander = bystander
        self._waiting = {PLANNING: wrap_planning, RUNNING: wrap_running}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's own spec, whose loader goes on to wrap what it has loaded."""
        wrap = self._waiting.pop(name, None)
        if wrap is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: ModuleType) -> None:
            execute(module)
            wrap(module, self._bystander)
            if self._waiting:  # the first of them
                watch_statements(self._bystander)
            else:
                sys.meta_path.remove(self)

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec


def wrap_planning(module: Any, bystander: Bystander) -> None:
    """Find the order when a run is planned."""
    plan = module.plan

    def planned(settings: Any, options: Any, *, run_key: str, **more: Any) -> Any:
        bystander.find_order(run_key, "plan")
        return plan(settings, options, run_key=run_key, **more)

    module.plan = planned


def wrap_running(module: Any, bystander: Bystander) -> None:
    """Find the order when a task begins, and stand beside the parts of its loop."""
    score, finish = module.NightlyRun.score, module.NightlyRun.finish
    score_shard = module.score_shard

    def finished(night: Any, *more: Any) -> Any:
        bystander.find_order(night.run.run_key, "finish")
        return finish(night, *more)

    def scored(night: Any, shard_id: int, **more: Any) -> Any:
        number = shard_number(night.settings.require_database_url(), shard_id)
        bystander.find_order(night.run.run_key, f"shard {number}")
        bystander.note_share(night.run.run_key, number)
        return score(night, shard_id, **more)

    def scored_in_parts(run: Any, claim: Any, *, worker: Any, **more: Any) -> Any:
        bystander.reached("claim returned")
        worker = slowed(worker, float(os.environ.get(SECONDS_A_BATCH, "0")))
        result = score_shard(run, claim, worker=watched(worker, bystander), **more)
        bystander.reached("shard done")
        return result

    module.NightlyRun.score, module.NightlyRun.finish = scored, finished
    module.score_shard = scored_in_parts


def slowed(worker: Any, seconds: float) -> Any:
    """With seconds, a scorer without a model that takes just so long for each batch."""
    if not seconds:
        return worker
    from clip_scoring.models.fake import FakeScorer

    fake = FakeScorer()

    def score(images: Any, captions: Any) -> Any:
        time.sleep(seconds)  # what a GPU would take
        return fake.score(images, captions)

    return replace(worker, scorer=Instrumented(worker.scorer, "score", score))


def shard_number(database_url: str, shard_id: int) -> int:
    """The shard's number within its run."""
    import psycopg2  # as late as the product loads it

    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT number FROM clip.shard WHERE id = %s", (shard_id,))
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def watched(worker: Any, bystander: Bystander) -> Any:
    """Source, loader, scorer and sink, each with the point behind its work."""
    commit = worker.sink.commit

    def committed(*args: Any) -> Any:
        bystander.reached("commit called")
        bystander.inside.transaction = "batch"
        try:
            claim = commit(*args)
        finally:
            bystander.inside.transaction = None
        bystander.reached("commit returned")
        return claim

    return replace(
        worker,
        source=bystander.with_point(worker.source, "read_pending", after="records read"),
        loader=bystander.with_point(worker.loader, "load", after="images loaded"),
        scorer=bystander.with_point(worker.scorer, "score", after="batch scored"),
        sink=Instrumented(worker.sink, "commit", committed),
    )


def watch_statements(bystander: Bystander) -> None:
    """Points before and behind the statements of the transactions that matter, and their ends."""
    from sqlalchemy import Engine, event
    from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

    from clip_scoring.database.connection import query

    names = {id(query(name)): name for name in STATEMENTS}
    inside = bystander.inside

    def name_of(context: Any) -> str:
        return names.get(id(getattr(context, "invoked_statement", None)), "")

    def transaction() -> str | None:
        return getattr(inside, "transaction", None)

    def before(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _m: Any) -> None:
        name = name_of(context)
        if name in TRANSACTIONS:
            inside.transaction = TRANSACTIONS[name]
        bystander.reached(STATEMENTS.get(name, (None, None))[0])

    def after(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _m: Any) -> None:
        if transaction() == "batch" and "'statement_timeout'" in statement:
            bystander.reached("transaction begun")
        bystander.reached(STATEMENTS.get(name_of(context), (None, None))[1])

    def commit(dialect: Any, connection: Any) -> None:
        name = transaction()
        bystander.reached(f"{name}: before COMMIT")
        committed(dialect, connection)
        bystander.reached(f"{name}: COMMIT done")
        inside.transaction = name if name == "batch" else None

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    committed = PGDialect_psycopg2.do_commit
    PGDialect_psycopg2.do_commit = commit  # type: ignore[method-assign]
