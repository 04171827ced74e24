"""Assets for other DAGs: one for the outcomes of each registered source."""

from __future__ import annotations

from airflow.sdk import Asset, AssetAlias

OUTCOMES = AssetAlias("clip_scoring/outcomes")
"""The outlet of task `finish`; each green run turns it into an event of its source's asset."""


def source_asset(name: str) -> Asset:
    """The outcomes of the registered source of that name.

    Each green run that was not dry adds one event, whose extra says `run_key`, `source`, `day` and
    what came of it. An event has the partition key of its DAG run, if the run has one, and then
    starts partitioned DAGs only: `schedule=PartitionedAssetTimetable(assets=source_asset(...))`.
    A DAG scheduled by the plain asset is started by runs without a partition key only, and gets
    the events since its last run, with and without. Airflow lists an event twice among all
    `triggering_asset_events`, under its asset and under `OUTCOMES`: look up the asset.
    """
    return Asset(name=f"clip_scoring/{name}", uri=f"clip://{name}/")
