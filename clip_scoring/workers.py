"""Names of worker processes, by which others on the same machine see whether they still live."""

from __future__ import annotations

import os
import socket
from pathlib import Path

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
