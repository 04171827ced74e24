"""A running Airflow over the sample records, and what tests ask of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, Row, text

from clip_scoring.database.connection import connect_engine
from stack import crew as stack_crew
from stack.airflow import METADATA, Site
from stack.crew import DAG, POOL, Crew, bring_up
from stack.layout import State
from stack.postgres import HOST
from stack.processes import poll, start
from stack.rest import Api, unpause
from tests.support.statsd import StatsdExporter
from tests.support.world import World

HOOKS = Path(__file__).with_name("hooks")
SAMPLE_RECORDS = 240
SCORES = (
    "SELECT record_key, encode(float4send(similarity), 'hex'), caption_truncated "
    "FROM clip.score ORDER BY 1"
)
ENDED = ("success", "failed")
OPEN = ("queued", "running")
Found = TypeVar("Found")


@dataclass(frozen=True)
class HookedSite(Site):
    """An Airflow whose processes know the crash points; without orders they do nothing."""

    statsd_port: int = 0

    @property
    def orders(self) -> Path:
        """The folder of orders and of the markers of those that were obeyed."""
        return self.state.root / "crash points"

    def environment(self) -> dict[str, str]:
        """The stack's own environment, and the hooks before it."""
        own = super().environment()
        path = os.pathsep.join((str(HOOKS), own["PYTHONPATH"]))
        return {
            **own,
            "PYTHONPATH": path,
            "CLIP_CRASH_POINTS": str(self.orders),
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # see `reparse`
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": HOST,
            "AIRFLOW__METRICS__STATSD_PORT": str(self.statsd_port),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }


@dataclass
class Night:
    """A running Airflow over the sample records."""

    site: HookedSite
    api: Api
    world: World
    metadata: Engine
    """Airflow's own database."""
    statsd: StatsdExporter

    def trigger(self, run: str | None = None, *, day: str = "2026-01-03", **conf: object) -> str:
        """The id of a new run for the partition of one day."""
        body = {"logical_date": None, "partition_key": day, "conf": conf, "dag_run_id": run}
        return str(self.api.post(f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"])

    def reparse(self) -> None:
        """Have the DAG's file read again, whose form shows what is registered."""
        token = self.api.get(f"/api/v2/dags/{DAG}")["file_token"]
        self.api.call("PUT", f"/api/v2/parseDagFile/{token}")

    def state(self, run: str) -> str:
        """What Airflow's database says: asking the API server ten times a second costs a core."""
        query = "SELECT state FROM dag_run WHERE dag_id = :dag AND run_id = :run"
        ((state,),) = self._metadata(query, dag=DAG, run=run)
        return str(state)

    def ended(self, run: str, limit_s: float = 240.0) -> str:
        """The state of the run once it is over."""
        return wait_for(
            lambda: (found := self.state(run)) in ENDED and found, f"end of {run}", limit_s
        )

    def task_pid(self, run: str, tries: int) -> int | None:
        """The process of the scoring task's current try, once it runs."""
        pids = self._metadata(
            "SELECT pid FROM task_instance WHERE dag_id = :dag AND run_id = :run "
            "AND task_id = 'score' AND state = 'running' AND try_number = :tries AND pid > 0",
            dag=DAG, run=run, tries=tries,
        )  # fmt: skip
        return pids[0][0] if pids else None

    def committed(self) -> int:
        found = self.world.sql("SELECT coalesce(sum(scored + rejected), 0) FROM clip.shard")
        return int(str(found[0][0]))

    def order(self, orders: Mapping[str, Mapping[str, object]]) -> None:
        """Tell processes of runs, by run id and part, what to do to themselves."""
        self.site.orders.mkdir(exist_ok=True)
        by_key = {f"{DAG}/{run}": parts for run, parts in orders.items()}
        partial = self.site.orders / "orders.part"
        partial.write_text(json.dumps(by_key))
        partial.rename(self.site.orders / "orders.json")

    def marker(self, run: str, part: str) -> dict[str, Any] | None:
        """What the process that obeyed the order of this part left behind."""
        path = self.site.orders / f"{DAG} {run}" / f"{part}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def good_keys(self) -> list[int]:
        """The keys of the sample's records that can be scored."""
        listed = json.loads((self.site.state.sample / "records.json").read_text())
        return [each["key"] for each in listed if each["kind"] != "bad"]

    def command_line(self, *arguments: str) -> str:
        """What `python -m ARGUMENTS` printed, in the stack's environment."""
        done = subprocess.run(
            (sys.executable, "-m", *arguments),
            env=self.site.environment(),
            cwd=self.site.repository,
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    @contextmanager
    def schedules(self) -> Iterator[None]:
        """A second scheduler that, unlike the first, starts DAG runs by itself."""
        scheduler = start(replace(self.site, scheduled=True).component("scheduler"))
        try:
            yield
        finally:
            scheduler.stop()

    def clear(self) -> None:
        """Back to the sample records without outcomes, and nothing under way."""
        self._stop_runs()
        self.world.sql("DROP TABLE IF EXISTS offset_history")
        self.world.sql("DROP FUNCTION IF EXISTS note_offset CASCADE")
        self.world.sql(
            "TRUNCATE clip.score, clip.rejection, clip.shard, clip.run, clip.fingerprint "
            "RESTART IDENTITY CASCADE"
        )
        self.world.sql("DELETE FROM clip.record WHERE key > :last", last=SAMPLE_RECORDS)
        self.order({})

    def _metadata(self, query: str, **values: object) -> Sequence[Row[Any]]:
        with self.metadata.connect() as connection:
            return connection.execute(text(query), values).all()

    def _stop_runs(self) -> None:
        for backfill in self.api.get(f"/api/v2/backfills?dag_id={DAG}")["backfills"]:
            if backfill["completed_at"] is None:
                self.api.call("PUT", f"/api/v2/backfills/{backfill['id']}/cancel")
        path = f"/api/v2/dags/{DAG}/dagRuns"
        for state in OPEN:
            for run in self.api.get(f"{path}?state={state}")["dag_runs"]:
                self.api.patch(f"{path}/{run['dag_run_id']}", {"state": "failed"})
        # A backfill leaves out days that have a run.
        while runs := self.api.get(f"{path}?limit=100")["dag_runs"]:
            for run in runs:
                self.api.delete(f"{path}/{run['dag_run_id']}")


def wait_for(
    condition: Callable[[], Found | None], what: str, limit_s: float = 180.0, every_s: float = 0.1
) -> Found:
    """The first true answer; fails by name when there is none in time."""
    found: list[Found] = []

    def reached() -> bool:
        if answer := condition():
            found.append(answer)
        return bool(found)

    assert poll(reached, limit_s=limit_s, every_s=every_s), f"no {what} within {limit_s} s"
    return found[0]


@contextmanager
def running_night(kind: Callable[..., HookedSite] = HookedSite) -> Iterator[Night]:
    """The whole stack with the hooks in its environment, in a folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="clip night ") as folder,
        closing(StatsdExporter()) as statsd,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(stack_crew, "Site", partial(kind, statsd_port=statsd.port))
        state = State(Path(folder))
        crew = Crew(state)
        try:
            site, api = bring_up(crew, scheduled=False, say=print)
            assert isinstance(site, HookedSite)
            unpause(api, DAG)
            # As many tasks at once as the executor runs.
            slots = {"pool": POOL, "slots": 4, "include_deferred": False}
            api.patch(f"/api/v2/pools/{POOL}", slots)
            metadata = connect_engine(site.login.url(METADATA), kept=1)
            yield Night(site, api, World(connect_engine(site.database_url)), metadata, statsd)
            metadata.dispose()
        finally:
            crew.stop()
            state.remove()
