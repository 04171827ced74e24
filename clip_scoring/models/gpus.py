"""The GPUs that torch sees, and whether they compute."""

from __future__ import annotations

import subprocess
import warnings
from dataclasses import dataclass

import torch

from clip_scoring.errors import DeviceLost

_ASK_DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
_EDGE = 256


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as torch numbers it, with its memory in bytes."""

    number: int
    name: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that torch sees, its CUDA version (None: CPUs alone), and its complaint."""

    torch: str
    cuda: str | None
    seen: tuple[Gpu, ...]
    complaint: str = ""


def visible_gpus() -> Gpus:
    """All GPUs that this process may use; raises DeviceLost for one that does not answer."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    complaint = str(caught[0].message).splitlines()[0] if caught else ""
    seen = tuple(_gpu(number) for number in range(count))
    return Gpus(torch.__version__, torch.version.cuda, seen, complaint)


def require_right_products(number: int) -> None:
    """Multiply two small matrices on that GPU; raises DeviceLost when their product is wrong."""
    try:
        ones = torch.ones(_EDGE, _EDGE, dtype=torch.float16, device=f"cuda:{number}")
        right = bool((ones @ ones == _EDGE).all())
    except RuntimeError as failed:  # torch's way to tell of a device that is full, or dead
        raise DeviceLost(f"GPU {number}: {str(failed).splitlines()[0]}") from failed
    if not right:
        raise DeviceLost(f"GPU {number} multiplies wrongly")


def driver_version() -> str | None:
    """NVIDIA's driver as `nvidia-smi` names it; None where that is not there or fails."""
    try:
        asked = subprocess.run(_ASK_DRIVER, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip().partition("\n")[0] or None


def _gpu(number: int) -> Gpu:
    try:
        free, total = torch.cuda.mem_get_info(number)
        return Gpu(number, torch.cuda.get_device_name(number), free, total)
    except RuntimeError as failed:  # as above
        raise DeviceLost(f"GPU {number}: {str(failed).splitlines()[0]}") from failed
