"""After every green run of a source: write its outcomes to a Parquet file."""

from datetime import timedelta

from airflow.sdk import DAG, PartitionedAssetTimetable

from clip_airflow.exports import ExportRunsOperator, any_source, export_params
from clip_airflow.retries import RETRY_POLICY

with DAG(
    dag_id="clip_export",
    description=__doc__,
    # Scoring runs have partition keys, and an event with such a key starts partitioned DAGs only.
    schedule=PartitionedAssetTimetable(assets=any_source()),
    # Two at once could write the same file, or read much of the database.
    max_active_runs=1,
    params=export_params(),
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_policy": RETRY_POLICY,
    },
    tags=["clip"],
    doc_md="Writes the outcomes of a run to `SOURCE/DAY/RUN.parquet` in the place that is "
    "registered as `exports:`. Started by hand, it exports the run that is named.",
) as dag:
    ExportRunsOperator(task_id="export")
