"""One shard through the DAG's own task against the same shard through the library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.album import Pair, read_album, write_album
from benchmarks.database import fresh_world, in_process, version_of
from benchmarks.figures import Figure, Result, middle
from benchmarks.race import REPOSITORY
from benchmarks.random_weights import write_weights
from tests.support.world import MIDDAY, World

SET = "320x240"
RECORDS, QUICK_RECORDS = 5000, 200
ROUNDS, QUICK_ROUNDS = 3, 1
LEAST = 0.95
WAYS = ("dag", "library")
NAMES = {"dag": "the DAG's score task", "library": "the library"}


def measure(quick: bool) -> Result:
    """With the embedded weights, which are quickest: whatever Airflow adds weighs most there."""
    return _measured(QUICK_RECORDS if quick else RECORDS, QUICK_ROUNDS if quick else ROUNDS, None)


def measure_vit(quick: bool) -> Result:
    """With ViT-B/32 of random weights: what a real shard sees; ten minutes on two cores."""
    layers = 2 if quick else None
    prepare = partial(write_weights, layers=layers)
    return _measured(QUICK_RECORDS if quick else RECORDS, 1, prepare)


def _measured(records: int, rounds: int, prepare: partial[Path] | None) -> Result:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with TemporaryDirectory(prefix="clip-benchmark-") as folder, fresh_world(durable=True) as world:
        root = Path(folder)
        environment = _environment(root, world)
        if prepare:
            environment["CLIP_SCORING_WEIGHTS"] = str(prepare(root / "weights"))
        write_album(root, {SET: records})
        _add(world, read_album(root)[SET])
        airflow = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(airflow, env=environment, check=True, stdout=subprocess.DEVNULL)
        for turn in range(rounds):
            for way in WAYS[:: -1 if turn % 2 else 1]:
                found[way].append(_round(world, f"{way}-{turn}", records, environment))
        version = version_of(world)
    return Result(_figures(found, records), version, {"records": records, "rounds": found})


def _round(
    world: World, run_key: str, records: int, environment: Mapping[str, str]
) -> dict[str, float]:
    """Seconds of scoring as the shard itself noted them, and of all that came before."""
    task = in_process("benchmarks.dag_round", world, run_key, str(records), environment=environment)
    ((scored, wall),) = world.sql(
        "SELECT scored, measures #>> '{seconds,wall}' FROM clip.shard "
        "WHERE run_id = (SELECT max(id) FROM clip.run)"
    )
    if scored != records:
        raise RuntimeError(f"{run_key}: {scored} of {records} records scored")
    seconds = float(str(wall))
    return {"scoring": seconds, "start-up": task["seconds"] - seconds}


def _figures(found: Mapping[str, list[dict[str, float]]], records: int) -> list[Figure]:
    took = {
        way: {each: middle([one[each] for one in rounds]) for each in ("scoring", "start-up")}
        for way, rounds in found.items()
    }
    dag, library = (records / took[way]["scoring"] for way in WAYS)
    return [
        Figure(f"a shard of {records:,}, {NAMES['dag']}", dag, "pairs/s", library, NAMES["library"],
               {f">= {LEAST}x": dag >= LEAST * library}),
        Figure(f"start-up before it, {NAMES['dag']}", took["dag"]["start-up"], "s",
               took["library"]["start-up"], NAMES["library"]),
    ]  # fmt: skip


def _add(world: World, pairs: list[Pair]) -> None:
    world.add({at: (each.path, each.caption) for at, each in enumerate(pairs, 1)}, MIDDAY)


def _environment(root: Path, world: World) -> dict[str, str]:
    """A worker's, over the world's database and the pictures below `root`."""
    sources = root / "sources.yaml"
    sources.write_text(f"sources:\n  records:\n    kind: postgres\n    image_roots: ['{root}']\n")
    usual = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "CLIP_SCORING"))}
    return {
        **usual,
        "PYTHONPATH": str(REPOSITORY / "plugins"),
        "HF_HUB_OFFLINE": "1",
        "CLIP_SCORING_SOURCES": str(sources),
        "CLIP_SCORING_CACHE": str(root / "cache"),
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW_CONN_CLIP_SCORING_DB": world.engine.url.set(
            drivername="postgresql"
        ).render_as_string(hide_password=False),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
