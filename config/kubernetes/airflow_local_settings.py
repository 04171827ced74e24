"""Which pod a task gets under KubernetesExecutor, by its queue.

For a task in Python the executor looks at executor_config, never at the queue. It is set here, in
one place for every DAG, so that no DAG has to know of Kubernetes. A task policy would not do: it is
shown mapped tasks, whose executor_config cannot be set. A pod mutation hook is shown a pod, which
has no queue.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

__all__ = ["task_instance_mutation_hook"]

# Not resolved: in a mounted ConfigMap this file is a link into a folder that each update replaces.
_HERE = Path(__file__).parent
_TEMPLATES = {"gpu": "pod-template-gpu.yaml"}


def task_instance_mutation_hook(task_instance: TaskInstance) -> None:
    """Point the executor to the template of the queue, unless the task names one itself."""
    name = _TEMPLATES.get(task_instance.queue)
    if name is not None:
        own = task_instance.executor_config or {}
        task_instance.executor_config = {"pod_template_file": str(_HERE / name), **own}
