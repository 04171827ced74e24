"""The trigger form, and the way from a DAG run to the library's options.

A new field goes into `RunOptions` as well, which refuses names that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.runs import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_SHARD_SIZE,
    Rescore,
    Trigger,
    WindowKind,
)
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.fields import BatchSize, Limit, Rate, ShardSize, bounds
from clip_scoring.settings.run_options import RunOptions

AUTO = "auto"
"""Choices of the form where the product decides; the library's options say None."""

_DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TRIGGERS = {
    "scheduled": Trigger.SCHEDULED,
    "backfill": Trigger.BACKFILL,
    "asset_triggered": Trigger.SCHEDULED,
    "asset_materialization": Trigger.SCHEDULED,
}


def run_params() -> dict[str, Param]:
    """Every choice of a run, with its range; sources and weights come from the registration."""
    registered = Settings.from_environment().registrations
    return {
        **_what_params(list(registered.sources)),
        **_how_params(list(registered.weights)),
        "max_rejection_rate": Param(
            None, type=["null", "number"], **bounds(Rate), title="Most rejections",
            section="Quality gates",
            description="The run fails when a larger share was rejected. Empty: no limit.",
        ),
        "max_drift": Param(
            None, type=["null", "number"], **bounds(Rate), title="Most drift",
            section="Quality gates",
            description="The run fails when its similarities moved further from those of the last "
            "7 good runs (Wasserstein distance, in units of similarity). Empty: no limit.",
        ),
    }  # fmt: skip


def _what_params(sources: list[str]) -> dict[str, Param]:
    return {
        "source": Param(
            sources[0], type="string", enum=sources, title="Source", section="What",
            description="Where pending records come from.",
        ),
        "day": Param(
            None, type=["null", "string"], format="date", pattern=_DAY, title="Day", section="What",
            description="UTC day. Empty: the run's partition, or today without one.",
        ),
        "window": Param(
            AUTO, type="string", enum=[AUTO, *map(str, WindowKind)], title="Window",
            section="What",
            description="up_to_day: everything pending up to the day's end. day: that day only. "
            "auto: day for a backfill, else up_to_day.",
        ),
        "rescore": Param(
            str(Rescore.MISSING), type="string", enum=[*map(str, Rescore)], title="Score again",
            section="What",
            description="missing: only what is pending. rejected: rejections too. all: everything.",
        ),
        "limit": Param(
            None, type=["null", "integer"], **bounds(Limit), title="Limit",
            section="What", description="Maximum number of records. Empty: no limit.",
        ),
        "dry_run": Param(
            False, type="boolean", title="Dry run", section="What",
            description="Stop at what would be planned: see XCom `preview` of task plan.",
        ),
    }  # fmt: skip


def _how_params(weights: list[str]) -> dict[str, Param]:
    return {
        "weights": Param(
            AUTO, type="string", enum=[AUTO, *weights], title="Weights", section="How",
            description="Registered weights. auto: what CLIP_SCORING_WEIGHTS says, else tiny.",
        ),
        "dtype": Param(
            AUTO, type="string", enum=[AUTO, *map(str, Dtype)], title="Number format",
            section="How",
            description="auto: float16 on a GPU, float32 on a CPU. int8 is for CPUs.",
        ),
        "tier": Param(
            str(Tier.EXACT), type="string", enum=[*map(str, Tier)], title="Decode tier",
            section="How",
            description="exact: the reference processor's pixels. fast: two to three times as "
            "fast, similarities differ in the fourth digit. nvjpeg: JPEG decoded on the GPU; needs "
            "one, and the extra nvjpeg.",
        ),
        "batch_size": Param(
            DEFAULT_BATCH_SIZE, type="integer", **bounds(BatchSize), title="Batch size",
            section="How", description="Records that are read, loaded and committed at once.",
        ),
        "shard_size": Param(
            DEFAULT_SHARD_SIZE, type="integer", **bounds(ShardSize), title="Shard size",
            section="How", description="Records per task; more when the backlog asks for it.",
        ),
    }  # fmt: skip


def run_key_of(context: Mapping[str, Any]) -> str:
    """The identity of the run: clearing a task asks for the same one again."""
    return f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"


def trigger_of(context: Mapping[str, Any]) -> Trigger:
    """The trigger of the DAG run, in the library's words."""
    run_type = context["dag_run"].run_type
    return _TRIGGERS.get(str(getattr(run_type, "value", run_type)), Trigger.MANUAL)


def options_of(context: Mapping[str, Any]) -> RunOptions:
    """The run's options, validated again; the partition gives the day where the form does not."""
    params = {name: None if given == AUTO else given for name, given in context["params"].items()}
    dag_run = context["dag_run"]
    partition = getattr(dag_run, "partition_key", None)
    params["day"] = params.get("day") or partition or dag_run.run_after.date()
    backfill = trigger_of(context) is Trigger.BACKFILL
    params["window"] = params.get("window") or (
        WindowKind.DAY if backfill else WindowKind.UP_TO_DAY
    )
    return RunOptions.of_params(params)
