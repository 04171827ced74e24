"""What a fault run may have spoilt, counted in SQL from outside; every figure has to be 0."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass

from clip_scoring.models.fake import FakeScorer
from clip_scoring.records import Record, Rejection, Score, screen_caption
from stack.processes import poll
from tests.faults.workers import EXPECTED_ENDS
from tests.support.world import SyntheticLoader, World

SESSIONS_LIMIT_S = 10.0

STEPS = (
    "SELECT h.*, s.start_key, s.stop_key, lag(new_offset) OVER w AS before,"
    " lag(h.epoch) OVER w AS epoch_before, row_number() OVER w = 1 AS first,"
    " lead(n) OVER w IS NULL AS last FROM offset_history h JOIN clip.shard s ON s.id = h.shard_id"
    " WINDOW w AS (PARTITION BY shard_id ORDER BY n)"
)
COUNTS = {
    "records lost": (
        "SELECT count(*) FROM clip.record"
        " WHERE NOT EXISTS (SELECT FROM clip.score WHERE record_key = key::text)"
        " AND NOT EXISTS (SELECT FROM clip.rejection WHERE record_key = key::text)"
    ),
    "outcomes twice": (
        "SELECT count(*) FROM clip.score"
        " JOIN clip.rejection USING (source, record_key, fingerprint_id)"
    ),
    "attempts counted twice": "SELECT count(*) FROM clip.rejection WHERE attempts <> 1",
    "counter drift, rows": (
        "SELECT coalesce(sum("
        " abs(scored - (SELECT count(*) FROM clip.score WHERE shard_id = s.id)) +"
        " abs(rejected - (SELECT count(*) FROM clip.rejection WHERE shard_id = s.id))), 0)"
        " FROM clip.shard s"
    ),
    "counter drift, history": (
        "SELECT coalesce(sum(abs(scored - h_scored) + abs(rejected - h_rejected)), 0)"
        " FROM clip.shard s LEFT JOIN LATERAL (SELECT coalesce(sum(scored), 0) AS h_scored,"
        " coalesce(sum(rejected), 0) AS h_rejected FROM offset_history"
        " WHERE shard_id = s.id) h ON true"
    ),
    "counter drift, plan": (
        "SELECT coalesce(sum(abs(scored + rejected - planned)), 0) FROM clip.shard"
    ),
    "offsets gone back": f"SELECT count(*) FROM ({STEPS}) t WHERE new_offset < old_offset",
    "steps that do not join": (
        f"SELECT count(*) FROM ({STEPS}) t WHERE old_offset <> before"
        " OR (first AND old_offset <> start_key) OR (last AND new_offset <> stop_key)"
    ),
    "steps that miss or repeat": (
        f"SELECT count(*) FROM ({STEPS}) t"
        " WHERE scored + rejected <> new_offset::bigint - old_offset::bigint"
    ),
    "steps off the grid": (
        f"SELECT count(*) FROM ({STEPS}) t WHERE new_offset <> stop_key"
        " AND (new_offset::bigint - start_key::bigint) % :batch_size <> 0"
    ),
    "epochs gone back": f"SELECT count(*) FROM ({STEPS}) t WHERE epoch < epoch_before",
    "stuck shards": (
        "SELECT count(*) FROM clip.shard WHERE state <> 'done' OR \"offset\" <> stop_key"
    ),
}
SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'clip-scoring' AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True)
class Remaining:
    """What the workers left behind outside the database."""

    run_key: str
    batch_size: int
    ledger: str
    ends: Counter[int]
    errors: str


def figures(world: World, left: Remaining) -> dict[str, int]:
    """Every figure by its name; the sessions are looked at first, the run's own verdict last."""
    poll(lambda: world.sql(SESSIONS) == [(0,)], limit_s=SESSIONS_LIMIT_S)
    found = {"sessions left over": _count(world, SESSIONS)}
    for name, statement in COUNTS.items():
        values = {"batch_size": left.batch_size} if ":batch_size" in statement else {}
        found[name] = _count(world, statement, **values)
    found["similarities that differ"] = differing(world)
    found["acknowledged off the record"] = off_the_record(world, left.ledger)
    unexpected = {code: n for code, n in left.ends.items() if code not in EXPECTED_ENDS}
    found["unexpected ends of workers"] = sum(unexpected.values())
    found["failures of the run"] = len(world.judge(left.run_key).failures)
    return found


def differing(world: World) -> int:
    """Outcomes unlike those of an unbroken run, which are known without one: compared by bits."""
    stored = world.sql(
        "SELECT record_key, encode(float4send(similarity), 'hex') FROM clip.score"
        " UNION ALL SELECT record_key, reason FROM clip.rejection"
    )
    records = world.sql("SELECT key, image_uri, caption FROM clip.record")
    expected = {str(row[0]): _expected(Record(*row)) for row in records}  # type: ignore[arg-type]
    return sum(expected[str(key)] != outcome for key, outcome in stored)


def _expected(record: Record) -> str:
    refused = screen_caption(record.caption)
    image = refused or SyntheticLoader().load([record]).images[0]
    if isinstance(image, Rejection):
        return str(image.reason)
    (outcome,) = FakeScorer().score([image], [record.caption])
    if not isinstance(outcome, Score):
        return "not a score"
    return struct.pack(">f", outcome.similarity).hex()


def off_the_record(world: World, ledger: str) -> int:
    """Commits that a worker saw succeed and the history does not know under its epoch."""
    acknowledged = {tuple(map(int, line.split())) for line in ledger.splitlines()}
    known = world.sql("SELECT shard_id, epoch, new_offset FROM offset_history")
    return len(acknowledged - {(shard, epoch, offset) for shard, epoch, offset in known})


def _count(world: World, statement: str, **values: object) -> int:
    return int(str(world.sql(statement, **values)[0][0]))
