"""Every night: plan the pending records, score them shard by shard, finish and judge the run."""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronPartitionTimetable

from clip_airflow.notify import notify_failure
from clip_airflow.operators import FinishRunOperator, PlanRunOperator, ScoreShardOperator
from clip_airflow.params import run_params
from clip_airflow.retries import RETRY_POLICY, SOON

with DAG(
    dag_id="clip_scoring",
    description=__doc__,
    # At midnight for the day that ended; a later hour would make backfills drop their last day.
    schedule=CronPartitionTimetable(
        "0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"
    ),
    # Days before this one cannot be backfilled; without catchup nothing else follows from it.
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=run_params(),
    default_args={"retries": 5, "retry_delay": SOON, "retry_policy": RETRY_POLICY},
    on_failure_callback=notify_failure,
    tags=["clip"],
    doc_md="Scores image–caption pairs with CLIP. A green run means that every planned record has "
    "an outcome: a similarity, or a rejection with its reason.",
) as dag:
    plan = PlanRunOperator(task_id="plan")
    score = ScoreShardOperator.partial(
        task_id="score",
        pool="gpu",
        queue="gpu",
        map_index_template="shard {{ task.shard_number }}: {{ task.records }} records",
    ).expand_kwargs(plan.output)
    # all_done: finish also judges a run whose shards failed, and turns it red by failing itself.
    finish = FinishRunOperator(task_id="finish", trigger_rule="all_done", retries=2)
    score >> finish
