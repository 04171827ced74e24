"""A run of the product's own workers under faults, from planning to the report."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from clip_scoring.database.connection import connect_engine
from clip_scoring.records import Reason
from tests.faults.crew import Crew
from tests.faults.figures import Remaining, figures
from tests.faults.mutants import Rule
from tests.faults.nemesis import Kind, Nemesis, schedule
from tests.faults.nursery import Nursery
from tests.faults.report import Report
from tests.faults.server import RestartableServer
from tests.faults.watch import Watch
from tests.faults.workers import Orders
from tests.support.world import MIDDAY, World

RUN_KEY = "under faults"
REASONS = (Reason.TIMEOUT, Reason.IMAGE_UNDECODABLE, Reason.HTTP_404_410)
REJECTED_SHARE = 0.04
NO_CAPTION_SHARE = 0.01
_numbers = count(1)


@dataclass(frozen=True)
class Trial:
    """What is tried: so many faults over so many records, by that rule; equal seed, equal plan."""

    seed: int
    faults: int = 200
    records: int = 20_000
    shards: int = 10
    batch_size: int = 16
    pause_s: float = 0.01
    rule: Rule = Rule.FENCED
    kinds: Sequence[Kind] = field(default_factory=lambda: tuple(Kind))
    limit_s: float = 900.0


def try_faults(server: RestartableServer, trial: Trial) -> Report:
    """Run one trial in a database of its own and look at what is left."""
    url = server.create_database(
        f"faults_{next(_numbers)}", synchronous_commit=trial.rule is not Rule.ASYNC_COMMIT
    )
    world = World(connect_engine(url))
    fill(world, trial)
    world.watch_offsets()
    started = monotonic()
    with TemporaryDirectory(prefix="clip-faults-") as folder:
        left, done = under_faults(server, url, world, trial, Path(folder))
        found = figures(world, left)
    return Report(
        seed=trial.seed,
        rule=trial.rule,
        records=trial.records,
        server=server.version(),
        faults=Counter(done),
        missed=trial.faults - len(done),
        ends=left.ends,
        figures=found,
        minutes=(monotonic() - started) / 60,
        errors=left.errors,
    )


def fill(world: World, trial: Trial) -> None:
    """Records with keys from 1 without gaps, some of which are rejected for several reasons."""
    rng = random.Random(trial.seed)
    rows = [_record(rng, key) for key in range(1, trial.records + 1)]
    world.sql(
        "INSERT INTO clip.record (key, image_uri, caption, created_at)"
        " SELECT *, :t FROM unnest(CAST(:k AS bigint[]), CAST(:i AS text[]), CAST(:c AS text[]))",
        t=MIDDAY,
        k=list(range(1, trial.records + 1)),
        i=[image_uri for image_uri, _ in rows],
        c=[caption for _, caption in rows],
    )


def _record(rng: random.Random, key: int) -> tuple[str, str]:
    draw = rng.random()
    image_uri = str(rng.choice(REASONS)) if draw < REJECTED_SHARE else f"image {key}"
    return image_uri, "" if draw > 1 - NO_CAPTION_SHARE else f"caption {key}"


def under_faults(
    server: RestartableServer, url: str, world: World, trial: Trial, folder: Path
) -> tuple[Remaining, list[Kind]]:
    """Plan, score under faults until nobody works any more; what is left, and the faults done."""
    size = -(-trial.records // trial.shards)
    plan = world.plan(RUN_KEY, batch_size=trial.batch_size, shard_size=size)
    orders = Orders(url, RUN_KEY, str(folder / "ledger"), trial.pause_s, trial.rule)
    faults = schedule(trial.seed, count=trial.faults, records=trial.records, kinds=trial.kinds)
    errors = folder / "errors.log"
    watch = Watch(url)
    try:
        with Nursery(orders, errors) as nursery:
            crew = Crew(nursery, [shard.shard_id for shard in plan.shards])
            nemesis = Nemesis(faults, crew, server, watch)
            score_to_the_end(crew, nemesis, watch, trial.limit_s)
    finally:
        watch.close()
    ledger = (folder / "ledger").read_text()
    return Remaining(RUN_KEY, trial.batch_size, ledger, crew.ends, errors.read_text()), nemesis.done


def score_to_the_end(crew: Crew, nemesis: Nemesis, watch: Watch, limit_s: float) -> None:
    """Let the crew work and the nemesis strike until all is done, or the time is over."""
    deadline = monotonic() + limit_s
    while crew.busy and monotonic() < deadline:
        crew.tend()
        shards = watch.shards()
        crew.wake(shards)
        if not all(shard.done for shard in shards.values()):
            nemesis.proceed(sum(shard.committed for shard in shards.values()))
