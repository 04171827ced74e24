"""A task whose supervisor was killed must not work on."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def is_supervised() -> bool:
    """Whether this process was made for one task; `dag.test()` runs tasks in its caller's."""
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415
    from airflow.sdk.execution_time.comms import CommsDecoder  # noqa: PLC0415

    return isinstance(getattr(task_runner, "SUPERVISOR_COMMS", None), CommsDecoder)


def die_with_parent() -> None:
    """Ask the kernel to kill this process as soon as the thread that started it is gone.

    In Airflow that is the main thread of the task's supervisor. The fence would refuse its commits
    anyway; this saves the work. On Linux only, see prctl(2).
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went between the two calls
        os.kill(os.getpid(), signal.SIGKILL)
