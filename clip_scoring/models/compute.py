"""How the towers are run on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clip_scoring.settings.environment import USUAL_CACHE


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """How the towers are run on a device; nothing of it is part of the fingerprint.

    On a CPU `threads` calls are made at once, each on one core, so their number changes no bit;
    None takes as many as torch would. `compiled` by torch.compile chooses kernels as the kind of
    device does: with it and without, similarities are equal within a tolerance.
    """

    device: str = "cpu"
    threads: int | None = None
    compiled: bool = False
    cache: Path = USUAL_CACHE
