"""Worker processes: names by which others see whether they live, and an end with the parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_START_TIME_FIELD = 19
"""Of `/proc/PID/stat`, counted behind the command's closing parenthesis (proc(5), field 22)."""


def this_worker() -> str:
    """`host/pid-namespace/pid/start-time`: never the name of two processes."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_started(pid)}"


def is_dead(worker: str) -> bool:
    """True when the worker ran on this machine and is gone; of others nothing can be known."""
    parts = worker.rsplit("/", 2)
    if len(parts) != 3 or parts[0] != _machine() or not parts[1].isdigit():
        return False
    return _started(int(parts[1])) != parts[2]


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process as soon as the thread that started it is gone.

    `parent` is the process that must still live; who knows no number means the parent of now. On
    Linux only, see prctl(2); elsewhere an orphan works on.
    """
    if sys.platform != "linux":
        return
    expected = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != expected:  # it went before the call
        os.kill(os.getpid(), signal.SIGKILL)


def _machine() -> str:
    namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    return f"{socket.gethostname()}/{namespace}"


def _started(pid: int) -> str:
    """When the process started, in ticks since boot; `gone` where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    state, *rest = stat.rpartition(")")[2].split()
    return "gone" if state in {"Z", "X"} else rest[_START_TIME_FIELD - 1]
