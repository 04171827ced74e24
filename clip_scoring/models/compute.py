"""How the towers are run on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clip_scoring.settings.environment import USUAL_CACHE


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """How the towers are run; nothing of it is part of the fingerprint.

    `threads` of torch on a CPU, None leaves them to torch; `compiled` by torch.compile. Both choose
    kernels as the kind of device does: between two choices similarities are equal within a
    tolerance.
    """

    device: str = "cpu"
    threads: int | None = None
    compiled: bool = False
    cache: Path = USUAL_CACHE
