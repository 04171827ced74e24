"""Planning millions of records against merely counting them: time, growth and client memory."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

from benchmarks.database import (
    fresh_world,
    in_process,
    slow_sql,
    vacuum,
    version_of,
    world_of_process,
)
from benchmarks.figures import Figure, Result, in_turns, middle
from benchmarks.machine import memory_mb
from clip_scoring.planning import plan_run
from tests.support.world import MIDDAY, World

MILLION = 1_000_000
SIZES = (MILLION, 3 * MILLION, 10 * MILLION)
QUICK_SIZES = (100_000, 300_000, MILLION)
REPEATS, REPEATS_OF_THE_LARGEST = 5, 3

ADD_RECORDS = """
INSERT INTO clip.record (key, image_uri, caption, created_at)
SELECT g, 's3://pictures/2026/' || g || '.jpg', 'a picture of thing number ' || g,
       CAST(:day AS timestamptz) - g % 300 * interval '1 hour'
FROM generate_series(CAST(:first AS bigint), :last) AS g
"""
SETTLE_HALF = """
INSERT INTO clip.score (source, record_key, fingerprint_id, similarity, caption_truncated,
                        input_md5, run_id, shard_id)
SELECT 'records', key::text, (SELECT fingerprint_id FROM clip.run WHERE id = :run), 0.25, false,
       CAST(md5(image_uri || E'\\x1f' || caption) AS uuid), :run, :shard
FROM clip.record WHERE key % 2 = 0
"""


def measure(quick: bool) -> Result:
    """Plan 1, 3 and 10 million pending records, and 3 million of which half are settled."""
    small, middling, large = QUICK_SIZES if quick else SIZES
    details: dict[str, dict[str, list[float]]] = {}
    with fresh_world(durable=False) as world:
        world.sql("ALTER DATABASE clip SET max_parallel_workers_per_gather = 0")
        have = 0
        for size in (small, middling, large):
            slow_sql(world, ADD_RECORDS, first=have + 1, last=size, day=MIDDAY)
            have = size
            repeats = REPEATS_OF_THE_LARGEST if size == large else REPEATS
            details[f"{size:,} pending"] = _measured(world, repeats)
            if size == middling:
                details[f"{size:,}, half of them settled"] = _half_settled(world, repeats)
        figures = [each for name, found in details.items() for each in _figures(name, found)]
        per_million = [
            middle(details[f"{size:,} pending"]["plan"]) / size * MILLION for size in (small, large)
        ]
        return Result([*figures, _growth(*per_million)], version_of(world), details)


def _measured(world: World, repeats: int) -> dict[str, list[float]]:
    vacuum(world)
    found: dict[str, list[float]] = in_process("benchmarks.planning", world, str(repeats))
    return found


def _half_settled(world: World, repeats: int) -> dict[str, list[float]]:
    plan = world.plan("settled by", limit=1)
    slow_sql(world, SETTLE_HALF, run=plan.run_id, shard=plan.shards[0].shard_id)
    world.sql("UPDATE clip.run SET state = 'succeeded'")
    try:
        return _measured(world, repeats)
    finally:
        world.sql("TRUNCATE clip.score, clip.rejection, clip.shard, clip.run")


def _figures(name: str, found: dict[str, list[float]]) -> list[Figure]:
    plan, count, memory = (middle(found[each]) for each in ("plan", "count", "memory_mb"))
    return [
        Figure(f"plan {name}", plan, "s", count, "SELECT count(*)", {"<= 4x": plan <= 4 * count}),
        Figure(f"client memory, {name}", memory, "MB", targets={"< 150 MB": memory < 150}),
    ]


def _growth(smallest: float, largest: float) -> Figure:
    return Figure(
        "plan, seconds per million at the largest size",
        largest, "s", smallest, "the smallest", {"<= 1.5x": largest <= 1.5 * smallest},
    )  # fmt: skip


def _work() -> None:
    """In a process of its own: plan and count in turns, print the seconds and the memory."""
    before = memory_mb("VmRSS")
    world = world_of_process()
    source, runs = world.source, world.runs
    day = (MIDDAY + timedelta(days=1)).date()
    request = world.request("measured", day=day, batch_size=64, shard_size=10_000)
    plan_run(request, source=source, runs=runs)
    pending = runs.get(request.run_key).selection()
    _forget(world)

    def plan() -> None:
        made = plan_run(request, source=source, runs=runs)
        if not made.planned == sum(each.planned for each in made.shards) > 0:
            raise RuntimeError(f"planned {made.planned} records in {len(made.shards)} shards")

    seconds = in_turns(
        int(sys.argv[1]),
        {"plan": plan, "count": lambda: source.count_pending(pending)},
        between=lambda: _forget(world),
    )
    json.dump({**seconds, "memory_mb": [memory_mb("VmHWM") - before]}, sys.stdout)


def _forget(world: World) -> None:
    world.sql(
        "DELETE FROM clip.shard USING clip.run WHERE run.id = run_id AND run_key = 'measured'"
    )
    world.sql("DELETE FROM clip.run WHERE run_key = 'measured'")


if __name__ == "__main__":
    _work()
