"""Whether a task has a supervisor, without which it must not work on."""

from __future__ import annotations


def is_supervised() -> bool:
    """Whether this process was made for one task; `dag.test()` runs tasks in its caller's."""
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415
    from airflow.sdk.execution_time.comms import CommsDecoder  # noqa: PLC0415

    return isinstance(getattr(task_runner, "SUPERVISOR_COMMS", None), CommsDecoder)
