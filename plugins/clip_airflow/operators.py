"""Operators of the DAG: each one calls the library and returns ids and counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from clip_airflow.assets import OUTCOMES, source_asset
from clip_airflow.connections import worker_settings
from clip_airflow.links import RunLink, ShardLink
from clip_airflow.metrics import emit_batches, emit_remaining
from clip_airflow.notify import FAILURE, FIGURES, figures_of
from clip_airflow.orphans import is_supervised
from clip_airflow.params import options_of, run_key_of, trigger_of
from clip_scoring.errors import ClipScoringError, RunFailed
from clip_scoring.processes import die_with_parent

if TYPE_CHECKING:
    from airflow.sdk import Context

    from clip_scoring.runs import RunSummary
    from clip_scoring.settings.run_options import RunOptions

PREVIEW = "preview"
"""The XCom in which a dry run says what a run would plan."""

# clip_scoring.nightly is imported inside execute: it loads a database driver, and scoring loads
# torch, neither of which parsing a DAG may need.


@contextmanager
def _push_failure(context: Context) -> Iterator[None]:
    """Keep an error for the message about a failed run."""
    try:
        yield
    except ClipScoringError as error:
        context["ti"].xcom_push(key=FAILURE, value=str(error))
        raise


class PlanRunOperator(BaseOperator):
    """Splits what is pending into shards; returns one mapping of arguments per shard."""

    operator_extra_links = (RunLink(),)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Plan once per DAG run; clearing the task returns the same shards."""
        with _push_failure(context):
            options = options_of(context)
            if options.dry_run:
                self._preview(context, options)
                return []
            return self._plan(context, options)

    def _preview(self, context: Context, options: RunOptions) -> None:
        from clip_scoring.nightly.plan import preview_plan  # noqa: PLC0415

        preview = preview_plan(worker_settings(), options)
        self.log.info("dry run: %s", preview)
        context["ti"].xcom_push(key=PREVIEW, value=preview.parts())

    def _plan(self, context: Context, options: RunOptions) -> list[dict[str, Any]]:
        from clip_scoring.nightly import plan as planner  # noqa: PLC0415

        planned = planner.plan(
            worker_settings(), options, run_key=run_key_of(context), trigger=trigger_of(context)
        )
        plan = planned.plan
        self.log.info(
            "run %d: %d records in %d shards, %d reserved by other runs",
            plan.run_id, plan.planned, len(plan.shards), plan.reserved,
        )  # fmt: skip
        emit_remaining(options.source, planned.remaining)
        return [
            {"shard_id": shard.shard_id, "shard_number": shard.number, "records": shard.planned}
            for shard in plan.shards
        ]


class ScoreShardOperator(BaseOperator):
    """Scores what is left of one shard; resumes at its checkpoint however the last try ended.

    `records` are those planned. Airflow renders template fields, and what stands in the map index
    is executed with them: numbers only, no field is a template.
    """

    operator_extra_links = (ShardLink(),)

    def __init__(self, *, shard_id: int, shard_number: int, records: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard_id = shard_id
        self.shard_number = shard_number
        self.records = records
        self._stopping = Event()

    def execute(self, context: Context) -> dict[str, int]:
        """Counts of what this try committed."""
        from clip_scoring.nightly.run import open_run  # noqa: PLC0415

        if is_supervised():
            die_with_parent()  # the fence would refuse its commits anyway: this saves the work
        with _push_failure(context):
            options = options_of(context)
            with open_run(worker_settings(), run_key=run_key_of(context)) as run:
                result = run.score(
                    self.shard_id,
                    weights=options.weights,
                    stopping=self._stopping.is_set,
                    committed=emit_batches(options.source),
                )
                emit_remaining(options.source, run.remaining())
        self.log.info("shard %d: %s", self.shard_number, result)
        return {"scored": result.scored, "rejected": result.rejected, "epoch": result.epoch}

    def on_kill(self) -> None:
        """Stop before the next batch; correctness does not rest on it."""
        self._stopping.set()


class FinishRunOperator(BaseOperator):
    """Recounts the run from its rows, writes its metrics and fails unless all of it is done."""

    operator_extra_links = (RunLink(),)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(outlets=[OUTCOMES], **kwargs)

    def execute(self, context: Context) -> dict[str, int]:
        """The run's counts; raises when a shard failed, a count is off or a gate tripped."""
        from clip_scoring.nightly.run import open_run  # noqa: PLC0415

        with _push_failure(context):
            options = options_of(context)
            if options.dry_run:
                return {}
            with open_run(worker_settings(), run_key=run_key_of(context)) as run:
                summary = run.finish(options.gates)
                emit_remaining(options.source, run.remaining())
        self.log.info("%s", summary)
        if summary.failures:
            context["ti"].xcom_push(key=FIGURES, value=figures_of(summary))
            raise RunFailed("; ".join(summary.failures))
        return _emit_outcomes(context, options, summary)


def _emit_outcomes(context: Context, options: RunOptions, summary: RunSummary) -> dict[str, int]:
    counts = {
        "planned": summary.planned,
        "scored": summary.scored,
        "rejected": summary.rejected,
        "pending": summary.pending,
    }
    what = {"run_key": run_key_of(context), "source": options.source, "day": str(options.day)}
    context["outlet_events"][OUTCOMES].add(source_asset(options.source), extra={**what, **counts})
    return counts
