"""`python -m benchmarks.dag_round RUN_KEY RECORDS`: score one shard, by the way the key names."""

from __future__ import annotations

import json
import sys
from time import perf_counter

from benchmarks.answers import answering
from benchmarks.race import REPOSITORY

DAY = "2026-01-01"


def main(run_key: str, records: str) -> None:
    """Print as JSON how many seconds the scoring task took, from its beginning to its end."""
    way = by_dag if run_key.startswith("dag") else by_library
    with answering() as answers:
        json.dump({"seconds": way(run_key, int(records))}, answers)


def by_dag(run_key: str, records: int) -> float:
    """All tasks of the DAG in this process, with the operators as they are."""
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415  # the library has none

    dag = DagBag(REPOSITORY / "dags").dags["clip_scoring"]
    done = dag.test(run_conf=_options(records))
    if done.state != "success":
        raise RuntimeError(f"{run_key}: the DAG run ended as {done.state}")
    (task,) = [each for each in done.get_task_instances() if each.task_id == "score"]
    return float(task.duration)


def by_library(run_key: str, records: int) -> float:
    """What the tasks call, without Airflow."""
    from clip_scoring.nightly.plan import plan  # noqa: PLC0415  # as above
    from clip_scoring.nightly.run import open_run  # noqa: PLC0415  # as above
    from clip_scoring.runs import Trigger  # noqa: PLC0415  # as above
    from clip_scoring.settings.environment import Settings  # noqa: PLC0415  # as above
    from clip_scoring.settings.run_options import RunOptions  # noqa: PLC0415  # as above

    settings, options = Settings.from_environment(), RunOptions.of_params(_options(records))
    planned = plan(settings, options, run_key=run_key, trigger=Trigger.CLI).plan
    started = perf_counter()
    with open_run(settings, run_key=run_key) as run:
        run.score(planned.shards[0].shard_id, weights=None)
        seconds = perf_counter() - started
        run.finish()
    return seconds


def _options(records: int) -> dict[str, object]:
    return {"day": DAY, "tier": "fast", "rescore": "all", "shard_size": records}


if __name__ == "__main__":
    main(*sys.argv[1:])
