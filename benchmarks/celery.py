"""Two Celery workers of queue `gpu` against one, on the same run of the real DAG."""

from __future__ import annotations

from benchmarks.figures import Figure, Result, middle
from tests.support.celery import BATCH, SHARD, celery_night
from tests.support.night import SAMPLE_RECORDS

SECONDS_A_BATCH, QUICK_SECONDS = 3.0, 0.2
"""A fixed time, so that what is compared is the sharing and not the cores of this machine."""
ROUNDS, QUICK_ROUNDS = 2, 1
LIMIT_S = 900.0
LEAST = 1.8
NAMES = ("gpu-a", "gpu-b")


def measure(quick: bool) -> Result:
    """Seconds of a run over the sample records, from its first task to its end."""
    seconds_a_batch = QUICK_SECONDS if quick else SECONDS_A_BATCH
    rounds = QUICK_ROUNDS if quick else ROUNDS
    took: dict[int, list[float]] = {1: [], 2: []}
    shares: dict[str, list[list[int]]] = {"one": [], "two": []}
    with celery_night(seconds_a_batch) as celery, celery.workers({"default": "default"}):
        for turn in range(rounds):
            for count in (1, 2)[:: -1 if turn % 2 else 1]:
                run = f"{turn}-{count}"
                celery.night.clear()
                with celery.workers(dict.fromkeys(NAMES[:count], "gpu")):
                    celery.trigger(run)
                    if celery.night.ended(run, limit_s=LIMIT_S) != "success":
                        raise RuntimeError(f"run {run} failed")
                took[count].append(celery.seconds(run))
                found = celery.shares(run)
                of = [sum(worker == name for worker, _ in found) for name in NAMES[:count]]
                shares[("one", "two")[count - 1]].append(of)
    one, two = (middle(took[count]) for count in (1, 2))
    shards = -(-SAMPLE_RECORDS // SHARD)
    what = f"a run of {shards} shards, {seconds_a_batch:g} s for each batch of {BATCH}"
    return Result(
        [
            Figure(
                f"{what}: two workers", SAMPLE_RECORDS / two, "pairs/s",
                SAMPLE_RECORDS / one, "one worker", {f">= {LEAST}x": one >= LEAST * two},
            ),
            Figure(f"{what}: two workers", two, "s", one, "one worker"),
        ],
        details={"seconds": took, "shards of each worker": shares},
    )  # fmt: skip
