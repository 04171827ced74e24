"""Two workers with CeleryExecutor share a run's shards, and one of them is lost in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from stack.crew import DAG
from stack.processes import Running
from tests.support.celery import BATCH, SHARD, CeleryNight, celery_night, kill_machine
from tests.support.night import SAMPLE_RECORDS, wait_for

SHARDS = -(-SAMPLE_RECORDS // SHARD)
GPU = ("gpu-a", "gpu-b")
STAGES = {"read", "fetch", "decode", "score", "commit", "wall"}
KILLED_AFTER = 2
"""Batches of the shard in whose middle its worker is lost."""


# Above 60 s: a whole Airflow of its own, with three Celery workers.
@pytest.fixture(scope="module")
def celery() -> Iterator[CeleryNight]:
    with celery_night(seconds_a_batch=0.5) as night:
        yield night


@pytest.fixture(scope="module")
def workers(celery: CeleryNight) -> Iterator[Mapping[str, Running]]:
    queues = {"default": "default"} | dict.fromkeys(GPU, "gpu")
    with celery.workers(queues) as running:
        yield running


@pytest.fixture(scope="module")
def shared(celery: CeleryNight, workers: Mapping[str, Running]) -> CeleryNight:
    """After a run that both workers scored."""
    celery.trigger("shared")
    assert celery.night.ended("shared") == "success"
    assert all(part.alive() for part in workers.values())
    return celery


def committed_by_shard(celery: CeleryNight) -> dict[int, int]:
    """Outcomes of each shard of the latest run that is not done."""
    rows = celery.night.world.sql(
        "SELECT number, scored + rejected FROM clip.shard WHERE state = 'open' "
        "AND run_id = (SELECT max(id) FROM clip.run)"
    )
    return {int(str(number)): int(str(outcomes)) for number, outcomes in rows}


def test_two_workers_share_the_shards_of_a_run(shared: CeleryNight) -> None:
    shares = shared.shares("shared")
    assert sorted(number for _, number in shares) == list(range(SHARDS))
    of = {worker: [number for each, number in shares if each == worker] for worker in GPU}
    assert min(map(len, of.values())) >= SHARDS // 4, of


def test_opentelemetry_is_told_what_statsd_would_be(shared: CeleryNight) -> None:
    by_reason = dict(
        shared.night.world.sql("SELECT reason, count(*) FROM clip.rejection GROUP BY reason")
    )
    total = shared.collector.by
    assert total("airflow.clip.scored", "source") == {"records": SAMPLE_RECORDS - 20}
    assert total("airflow.clip.rejected", "reason") == by_reason
    assert total("airflow.clip.stage", "stage") == dict.fromkeys(STAGES, SAMPLE_RECORDS / BATCH)
    for gauge in ("batch_size", "queue_depth", "backlog"):
        assert total(f"airflow.clip.{gauge}", "source").keys() == {"records"}


def test_a_worker_that_is_lost_in_the_middle_costs_a_batch_and_nothing_twice(
    celery: CeleryNight, workers: Mapping[str, Running]
) -> None:
    celery.night.clear()
    celery.night.world.watch_offsets()
    celery.trigger("killed")

    def shard_under_way() -> int | None:
        mine = {number for worker, number in celery.shares("killed") if worker == "gpu-a"}
        found = committed_by_shard(celery)
        return next((n + 1 for n in mine & found.keys() if found[n] >= KILLED_AFTER * BATCH), None)

    lost = wait_for(shard_under_way, "shard of gpu-a in its middle") - 1
    kill_machine(workers["gpu-a"])
    assert celery.night.ended("killed", limit_s=300.0) == "success"
    celery.night.world.check_invariants()
    tries = [worker for worker, number in celery.shares("killed") if number == lost]
    assert tries == ["gpu-a", "gpu-b"]
    # The second worker went on where the first one's last commit left the shard.
    steps = celery.night.world.sql(
        "SELECT h.epoch, sum(h.scored + h.rejected) FROM offset_history h "
        "JOIN clip.shard s ON s.id = h.shard_id WHERE s.number = :lost GROUP BY 1 ORDER BY 1",
        lost=lost,
    )
    assert [epoch for epoch, _ in steps] == [1, 2]
    first, second = (int(str(outcomes)) for _, outcomes in steps)
    assert KILLED_AFTER * BATCH <= first < SHARD == first + second
    ((planned, scored, rejected),) = celery.night.world.sql(
        "SELECT planned, scored, rejected FROM clip.run WHERE run_key = :key",
        key=f"{DAG}/killed",
    )
    assert planned == SAMPLE_RECORDS == int(str(scored)) + int(str(rejected))
