"""Committing outcomes, fenced and upserted, against a plain COPY of the same rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from time import perf_counter

import psycopg2

from benchmarks.database import fresh_world, vacuum, version_of
from benchmarks.figures import Figure, Result, middle
from clip_scoring.database.connection import transaction
from clip_scoring.database.sink import PostgresSink
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Outcome, Reason, Record, Rejection, Score
from clip_scoring.runs import Run
from clip_scoring.shards import Claim
from tests.support.world import World

Rows = Sequence[tuple[Record, Outcome]]

SIZES = (64, 256, 1000, 4000)
RECORDS_PER_TRIAL = 16_000
ROUNDS, QUICK_ROUNDS = 7, 2
MEASURES = StageMetrics({"read": 0.01, "fetch": 0.02, "decode": 0.03, "score": 0.04, "wall": 0.05})

TWIN = """
DO $$
DECLARE link record;
BEGIN
    CREATE TABLE public.{0} (LIKE clip.{0} INCLUDING ALL);
    FOR link IN SELECT pg_get_constraintdef(oid) AS rule FROM pg_constraint
                WHERE conrelid = 'clip.{0}'::regclass AND contype = 'f' LOOP
        EXECUTE 'ALTER TABLE public.{0} ADD ' || link.rule;
    END LOOP;
END $$
"""
COPY = {
    "score": "COPY public.score (source, record_key, fingerprint_id, similarity, "
    "caption_truncated, input_md5, run_id, shard_id) FROM STDIN",
    "rejection": "COPY public.rejection (source, record_key, fingerprint_id, reason, detail, "
    "input_md5, run_id, shard_id) FROM STDIN",
}


def measure(quick: bool) -> Result:
    """Outcomes per second for several batch sizes, of new rows and of rows that are there."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    rates: dict[str, list[float]] = {}
    with fresh_world(durable=True) as world:
        for table in COPY:
            world.sql(TWIN.format(table))
        world.add_many(rounds * len(SIZES) * RECORDS_PER_TRIAL)
        shards = iter(world.plan("sink", shard_size=RECORDS_PER_TRIAL).shards)
        for turn in range(rounds):
            vacuum(world)
            for size in SIZES[:: -1 if turn % 2 else 1]:
                for name, seconds in _trial(world, next(shards).shard_id, size).items():
                    rates.setdefault(name, []).append(round(RECORDS_PER_TRIAL / seconds, 1))
        waiting = [_seconds(partial(_empty_transaction, world)) for _ in range(10 * rounds)]
        return Result(
            [
                *_figures(rates),
                Figure("a transaction that does nothing", 1000 * middle(waiting), "ms"),
            ],
            version_of(world),
            {"outcomes_per_second": rates},
        )


def _trial(world: World, shard_id: int, size: int) -> dict[str, float]:
    """Seconds for the records of one shard: copied, committed as new, committed again."""
    sink = PostgresSink(world.engine)
    run, claim = sink.claim(shard_id, device="none")
    new, changed = _rows(claim, 0.25), _rows(claim, 0.5)
    seconds = {f"COPY {size}": _copy(world, run, claim, new)}
    seconds[f"new {size}"] = _seconds(lambda: _commit_all(sink, claim, new, size))
    world.sql(
        "UPDATE clip.shard SET \"offset\" = start_key, state = 'open' WHERE id = :s", s=shard_id
    )
    _, again = sink.claim(shard_id, device="none")
    seconds[f"known {size}"] = _seconds(lambda: _commit_all(sink, again, changed, size))
    return seconds


def _rows(claim: Claim, similarity: float) -> Rows:
    """Every twentieth record is rejected, the others are scored."""
    records = [Record(key, f"image {key}", f"caption {key}") for key in _keys(claim)]
    return [
        (each, Rejection(Reason.TIMEOUT, "no answer in 10 s") if at % 20 == 0 else scored)
        for at, each in enumerate(records)
        for scored in (Score(similarity, caption_truncated=False),)
    ]


def _keys(claim: Claim) -> range:
    if not isinstance(claim.start, int) or not isinstance(claim.stop, int):
        raise TypeError("the keys of clip.record are integers")
    return range(claim.start, claim.stop)


def _commit_all(sink: PostgresSink, claim: Claim, rows: Rows, size: int) -> None:
    stops = [*_keys(claim)[size::size], claim.stop]
    for at, stop in enumerate(stops):
        claim = sink.commit(claim, stop, rows[at * size : (at + 1) * size], MEASURES)


def _copy(world: World, run: Run, claim: Claim, rows: Rows) -> float:
    """Seconds of two COPYs in one transaction; rendering and connecting are not counted."""
    texts = {"score": io.StringIO(), "rejection": io.StringIO()}
    for record, outcome in rows:
        owner = f"records\t{record.key}\t{run.fingerprint_id}"
        origin = f"{record.input_md5}\t{run.id}\t{claim.shard_id}\n"
        if isinstance(outcome, Score):
            texts["score"].write(f"{owner}\t{outcome.similarity}\tf\t{origin}")
        else:
            texts["rejection"].write(f"{owner}\t{outcome.reason}\t{outcome.detail}\t{origin}")
    for each in texts.values():
        each.seek(0)
    url = world.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        started = perf_counter()
        for table, text in texts.items():
            cursor.copy_expert(COPY[table], text)
        connection.commit()
        return perf_counter() - started


def _empty_transaction(world: World) -> None:
    with transaction(world.engine):
        pass


def _seconds(timed: Callable[[], object]) -> float:
    started = perf_counter()
    timed()
    return perf_counter() - started


def _figures(rates: dict[str, list[float]]) -> list[Figure]:
    best = max(SIZES, key=lambda size: middle(rates[f"new {size}"]))
    figures = []
    for kind in ("new", "known"):
        for size in SIZES:
            rate, copied = middle(rates[f"{kind} {size}"]), middle(rates[f"COPY {size}"])
            targets = {">= 20,000/s": rate >= 20_000, ">= 0.25x": rate >= copied / 4}
            what = f"commit {kind} outcomes, {size} a batch"
            wanted = targets if size == best else {}
            figures.append(Figure(what, rate, "/s", copied, "COPY", wanted))
    return figures
