"""Which device the towers run on, and in which number formats it computes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from clip_scoring.errors import DeviceLost, SettingsInvalid
from clip_scoring.fingerprint import Dtype

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?|mps")
_CPU_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of processors that multiply in bfloat16; others emulate it, many times slower."""


def choose_device(wanted: str = "auto", *, require_gpu: bool = False) -> str:
    """`cpu`, `cuda`, `cuda:N` or `mps`; `auto` takes a GPU where torch sees one of NVIDIA's.

    Which of several GPUs `cuda` means is chosen by the worker's `CUDA_VISIBLE_DEVICES`. Raises
    SettingsInvalid when a GPU is asked for, or required, and there is none.
    """
    if not _DEVICE.fullmatch(wanted):
        raise SettingsInvalid(f"device {wanted!r} is not one of auto, cpu, cuda, cuda:N, mps")
    match kind(wanted):
        case "cpu":
            return _cpu(require_gpu=require_gpu)
        case "mps":
            return _mps()
        case "cuda":
            return _cuda(wanted, gpus=_gpus())
        case _:
            gpus = _gpus()
            return _cuda("cuda", gpus=gpus) if gpus or require_gpu else "cpu"


def _gpus() -> int:
    """How many of NVIDIA's GPUs torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _cpu(*, require_gpu: bool) -> str:
    if require_gpu:
        raise SettingsInvalid("a GPU is required and device is cpu: change one of the two settings")
    return "cpu"


def _cuda(wanted: str, *, gpus: int) -> str:
    """`wanted`, which is `cuda` or `cuda:N`; raises SettingsInvalid unless that GPU is there."""
    if not gpus:
        raise SettingsInvalid(
            f"a GPU is required, but torch {torch.__version__} (for CUDA {torch.version.cuda}) "
            "sees none"
        )
    if int(wanted.partition(":")[2] or 0) >= gpus:
        raise SettingsInvalid(f"device {wanted}: torch sees GPUs 0 to {gpus - 1}")
    return wanted


def _mps() -> str:
    if not torch.backends.mps.is_available():
        raise SettingsInvalid(f"device mps: torch {torch.__version__} sees no Apple GPU")
    return "mps"


def kind(device: str) -> str:
    """The device without its number: `cuda` of `cuda:1`."""
    return device.partition(":")[0]


def shown_name(device: str) -> str:
    """What a run's metrics call it: a GPU by its product's name."""
    return torch.cuda.get_device_name(device) if kind(device) == "cuda" else device


def memory_peaks(device: str) -> dict[str, int]:
    """The most of a GPU's own memory that this process held at once."""
    if kind(device) != "cuda":
        return {}
    return {"device_memory_bytes": torch.cuda.max_memory_allocated(device)}


def usual_dtype(device: str) -> Dtype:
    """The number format of a run that names none."""
    return Dtype.FLOAT16 if kind(device) == "cuda" else Dtype.FLOAT32


def require_dtype(dtype: Dtype, device: str, *, flags: frozenset[str] | None = None) -> None:
    """Raise SettingsInvalid with the reason unless the device computes in `dtype` itself.

    `flags` are the CPU's; None reads them from the system.
    """
    if kind(device) != "cpu":
        if dtype is Dtype.INT8:
            raise SettingsInvalid("dtype int8 is for CPUs: take float16 on this GPU")
        return
    if dtype is Dtype.FLOAT16:
        raise SettingsInvalid("dtype float16 needs a GPU, this is the CPU: take float32 or int8")
    if dtype is Dtype.BFLOAT16 and not _CPU_BFLOAT16 & (cpu_flags() if flags is None else flags):
        raise SettingsInvalid(
            "dtype bfloat16 needs a GPU or a CPU with AVX512_BF16 or AMX, which this one has not: "
            "take float32 or int8"
        )


def cpu_flags() -> frozenset[str]:
    """The instruction sets of this processor in the kernel's words; empty where it tells none."""
    try:
        flags = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        return frozenset()
    return frozenset(flags[1].split()) if flags else frozenset()


@contextmanager
def memory_needed_for(what: str) -> Iterator[None]:
    """Where less work at once is no remedy: raises DeviceLost when the memory is not there."""
    try:
        yield
    except torch.OutOfMemoryError as full:
        raise DeviceLost(f"no memory on the device for {what}") from full
