"""Every week: let go of retries, measures and runs that nobody will take up any more."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from clip_airflow.maintenance import MaintainOperator, maintain_params
from clip_airflow.retries import RETRY_POLICY

with DAG(
    dag_id="clip_maintain",
    description=__doc__,
    schedule="0 12 * * 0",  # far from the nightly run
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=maintain_params(),
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_policy": RETRY_POLICY,
    },
    tags=["clip"],
    doc_md="Works in small batches, beside runs. It deletes nothing: outcomes stay, and so do the "
    "figures of runs.",
) as dag:
    MaintainOperator(task_id="maintain")
