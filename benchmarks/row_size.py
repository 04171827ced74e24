"""Bytes of disk and of write-ahead log that one scored pair costs, its record among them."""

from __future__ import annotations

from benchmarks.database import fresh_world, slow_sql, vacuum, version_of
from benchmarks.figures import Figure, Result
from benchmarks.planning import ADD_RECORDS
from tests.support.world import MIDDAY, World

PAIRS, QUICK_PAIRS = 200_000, 20_000
FIRST_KEY = 10_000_000_000
"""Keys are kept as text: eleven digits, as a table has that takes 300 million records a day."""
OPTIONS = {"batch_size": 1000, "shard_size": 20_000}
SCORE, RECORD = "clip.score, a row", "clip.record, a row"
LOG = "write-ahead log, a scored pair"


def measure(quick: bool) -> Result:
    """Score pairs by the product's own commits, vacuum, and divide what the tables take by rows."""
    pairs = QUICK_PAIRS if quick else PAIRS
    with fresh_world(durable=True) as world:
        last = FIRST_KEY + pairs - 1
        slow_sql(world, ADD_RECORDS, first=FIRST_KEY, last=last, day=MIDDAY)
        vacuum(world)
        before = _log_position(world)
        summary = world.run("rows", **OPTIONS)
        written = _log_position(world) - before
        if summary.failures or summary.scored != pairs:
            raise RuntimeError(f"{summary}: {summary.failures}")
        vacuum(world)
        figures = [
            *_figures(world, "clip.score", SCORE, pairs),
            *_figures(world, "clip.record", RECORD, pairs),
            Figure(LOG, written / pairs, "bytes"),
        ]
        return Result(figures, version_of(world), {"pairs": pairs, **OPTIONS})


def _figures(world: World, table: str, what: str, rows: int) -> list[Figure]:
    whole, indexes = _numbers(
        world, f"SELECT pg_total_relation_size('{table}'), pg_indexes_size('{table}')"
    )
    return [
        Figure(what, whole / rows, "bytes"),
        Figure(f"{what}: its indexes", indexes / rows, "bytes"),
    ]


def _log_position(world: World) -> int:
    return _numbers(world, "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS bigint)")[0]


def _numbers(world: World, statement: str) -> list[int]:
    return [int(str(each)) for each in world.sql(statement)[0]]
