"""The worker that scores shards of one run in one process, opened after the run was read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from clip_scoring.database.connection import Database
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import WeightsInvalid
from clip_scoring.models.weights import Weights
from clip_scoring.processes import this_worker
from clip_scoring.runs import Plan, Run
from clip_scoring.scoring import Worker
from clip_scoring.settings.environment import Settings
from clip_scoring.wiring import (
    cores_here,
    device_of,
    find_weights,
    open_loader,
    open_scorer,
    open_source,
)

_RECORDS_WORTH_A_PROCESS = 200


def best_processes(settings: Settings, planned: Plan) -> int:
    """How many processes score a run fastest on this machine.

    One for the GPU; on a CPU one for each core, which beats several threads in one process, as far
    as there is work that is worth the start of a process.
    """
    if device_of(settings) != "cpu":
        return 1
    worthwhile = planned.planned // _RECORDS_WORTH_A_PROCESS
    return max(1, min(cores_here(), len(planned.shards), worthwhile))


@contextmanager
def open_worker(
    settings: Settings, database: Database, run: Run, *, weights: str | None, processes: int
) -> Iterator[Worker]:
    """Source, loader, scorer and sink of the run; `processes` share this machine's cores.

    Raises WeightsInvalid where the weights are not those that the run was planned with.
    """
    opened = find_weights(settings, weights)
    _require_planned(opened, run)
    registration = settings.registrations.source(run.source)
    cores = max(1, cores_here() // max(1, processes))
    with closing(
        open_loader(settings, registration, opened, tier=run.fingerprint.tier, decoders=cores)
    ) as loader:
        yield Worker(
            open_source(settings, database, run.source),
            loader,
            open_scorer(
                settings,
                opened,
                run.fingerprint,
                loader=loader,
                threads=cores,
            ),
            PostgresSink(database, worker=this_worker()),
        )


def _require_planned(weights: Weights, run: Run) -> None:
    here = weights.fingerprint(tier=run.fingerprint.tier, dtype=run.fingerprint.dtype)
    if here != run.fingerprint:
        raise WeightsInvalid(
            f"weights {weights.folder} are not those that run {run.run_key} was planned with"
        )
