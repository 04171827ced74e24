"""Operator and form of the DAG that exports the outcomes of finished runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAny, BaseOperator, Param

from clip_airflow.assets import source_asset
from clip_airflow.connections import worker_settings
from clip_scoring.display import address
from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

# clip_scoring.nightly is imported inside execute: it loads a database driver, which parsing a DAG
# may not need.

_RUN_KEY = r"[A-Za-z0-9_.~:+/@-]{1,500}"


def any_source() -> AssetAny:
    """The outcomes of whichever registered source."""
    return AssetAny(*map(source_asset, Settings.from_environment().registrations.sources))


def export_params() -> dict[str, Param]:
    """Which run to export where no asset says it."""
    return {
        "run_key": Param(
            None, type=["null", "string"], pattern=f"^{_RUN_KEY}$", title="Run",
            description="Key of a finished run, as clip_scoring/manual__2026-01-03T00:00:00+00:00. "
            "Only for runs that are started by hand.",
        ),
    }  # fmt: skip


def run_keys_of(context: Mapping[str, Any]) -> list[str]:
    """The runs to export: the one that the form names, else those whose events started the DAG.

    Raises SettingsInvalid when there is none, or when one cannot be the key of a run.
    """
    named = context["params"].get("run_key")
    events = context["triggering_asset_events"].values()
    run_keys = (
        [named]
        if named
        else [event.extra.get("run_key") for several in events for event in several]
    )
    if not run_keys:
        raise SettingsInvalid("no asset started this DAG run: name a run in run_key")
    for key in run_keys:
        if not isinstance(key, str) or not re.fullmatch(_RUN_KEY, key):
            raise SettingsInvalid(f"parameter run_key: {key!r} is not the key of a run")
    return list(dict.fromkeys(run_keys))


class ExportRunsOperator(BaseOperator):
    """Writes what runs left to the registered place, one Parquet file for each run."""

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Each file with its number of rows; running it again replaces the files."""
        from clip_scoring.nightly.exports import export_run  # noqa: PLC0415

        run_keys, settings, files = run_keys_of(context), worker_settings(), []
        for run_key in run_keys:
            done = export_run(settings, run_key=run_key)
            self.log.info("run %s: %d outcomes in %s", run_key, done.rows, address(done.uri))
            files.append({"run_key": run_key, "uri": done.uri, "rows": done.rows})
        return files
