"""Builds the pods of task instances with the provider's own code, up to the call of the API server.

A program of its own: Airflow imports airflow_local_settings and its settings once in a process.
"""

from __future__ import annotations

import json
import queue
import sys
import uuid
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.executors.workloads import ExecuteTask
from airflow.executors.workloads.base import BundleInfo
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.models.taskinstance import TaskInstance
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor import KubernetesExecutor
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor_utils import (
    AirflowKubernetesScheduler,
)
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from airflow.serialization.serialized_objects import DagSerialization

BUNDLE = BundleInfo(name="dags-folder")


def workload_of(task: Any, map_index: int) -> ExecuteTask:
    """What the scheduler hands to an executor for that task."""
    instance = TaskInstance(
        task=task, run_id="a-night", map_index=map_index, dag_version_id=uuid.uuid4()
    )
    instance.id, instance.try_number = uuid.uuid4(), 1
    return ExecuteTask(
        ti=TaskInstanceDTO.model_validate(instance, from_attributes=True),
        dag_rel_path=Path("score_pairs.py"),
        token="short-lived",
        bundle_info=BUNDLE,
        log_path="a-night.log",
    )


def job_of(executor: KubernetesExecutor, workload: ExecuteTask) -> Any:
    """What the executor puts into its queue for that workload."""
    executor.task_queue = queue.Queue()
    key = executor.get_task_key(workload.ti) if executor.supports_task_instance_uuid else None
    executor.queued_tasks[key or workload.ti.key] = workload
    executor._process_workloads([workload])
    return executor.task_queue.get_nowait()


def pod_of(executor: KubernetesExecutor, job: Any) -> dict[str, Any]:
    """The request that would be sent for that job."""
    # Its __init__ starts processes that watch a cluster.
    scheduler = AirflowKubernetesScheduler.__new__(AirflowKubernetesScheduler)
    scheduler.kube_config = executor.kube_config
    scheduler.namespace = executor.kube_config.executor_namespace
    scheduler.scheduler_job_id = "1"
    scheduler.supports_task_instance_uuid = executor.supports_task_instance_uuid
    pod: dict[str, Any] = PodGenerator.serialize_pod(scheduler._build_pod_request(job))
    return pod


def main(folders: list[str]) -> None:
    """Print a pod for each task of each DAG below the folders, by DAG and task."""
    pods: dict[str, Any] = {}
    for folder in folders:
        bag = DagBag(folder)
        if bag.import_errors:
            sys.exit(str(bag.import_errors))
        for dag in bag.dags.values():
            stored = DagSerialization.from_dict(
                json.loads(json.dumps(DagSerialization.to_dict(dag)))
            )
            for task in stored.tasks:
                executor = KubernetesExecutor()
                executor.scheduler_job_id = "1"
                workload = workload_of(task, 3 if task.is_mapped else -1)
                pods[f"{dag.dag_id}.{task.task_id}"] = pod_of(executor, job_of(executor, workload))
    print(json.dumps(pods))


if __name__ == "__main__":
    main(sys.argv[1:])
