"""What the model is made from: assumptions, each with an option, and figures as they were kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


def _asked(default: Any, what: str) -> Any:
    return field(default=default, metadata={"what": what})


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What nobody measured here: each has an option of its name."""

    night_hours: float = _asked(8.0, "hours of the night window")
    batch_size: int = _asked(256, "pairs a commit: 64, 256, 1000 or 4000, as measured")
    pictures: str = _asked("mix", "images as in the loading benchmark: 640x480 or mix")
    image_kb: float = _asked(150.0, "kB of an image file, fetched once")
    caption_tokens: int = _asked(16, "tokens of a caption, trimmed")
    days_kept: int = _asked(30, "days of records that stay in a source")
    planning_minutes: float = _asked(30.0, "minutes that planning, and judging, may take")
    gpu: str = _asked("H200", "the GPU, one of the table of GPUs")
    utilisation: float = _asked(0.3, "share of a GPU's published peak that towers reach")
    cores_a_gpu: int = _asked(16, "CPU cores beside each GPU, for loading")
    max_connections: int = _asked(100, "`max_connections` of PostgreSQL, its default")
    peak_factor: float = _asked(10.0, "busy connections at a peak, as a multiple of the mean")
    gpu_price: float = _asked(2.5, "price of an hour of a GPU with its cores")
    core_price: float = _asked(0.04, "price of an hour of a CPU core")
    disk_price: float = _asked(0.1, "price of a GB of disk for a month")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str) and not value > 0:
                raise ValueError(f"{each.name}: {value:g} is not above 0")


INPUTS: Mapping[str, tuple[str, str]] = {
    "load 640x480": ("loading", "640x480: isolated processes, 2 cores"),
    "load mix": ("loading", "mix: isolated processes, 2 cores"),
    "fast 640x480": ("loading", "640x480: decode(), tier fast"),
    "fast mix": ("loading", "mix: decode(), tier fast"),
    "exact 640x480": ("loading", "640x480: decode(), tier exact"),
    "exact mix": ("loading", "mix: decode(), tier exact"),
    "float32, 2 cores": ("engine", "end to end, 2 processes of 1 thread"),
    "float32": ("engine", "end to end, ours, float32"),
    "int8": ("engine", "end to end, ours, int8"),
    "commit": ("sink", "commit new outcomes, {batch_size} a batch"),
    "read": ("long_run", "read"),
    "judge": ("long_run", "judging the run"),
    "plan": ("planning", "plan, seconds per million at the largest size"),
    "plan settled": ("planning", "plan 3,000,000, half of them settled"),
    "score bytes": ("row_size", "clip.score, a row"),
    "log bytes": ("row_size", "write-ahead log, a scored pair"),
}
"""Names of this model, and which figure of which benchmark each is."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure as its benchmark kept it."""

    file: str
    what: str
    value: float
    unit: str


def measured(results: Path, batch_size: int) -> dict[str, Measured]:
    """Every input by its name here; raises LookupError where a benchmark has not measured one."""
    found = {}
    for name, (file, form) in INPUTS.items():
        what = form.format(batch_size=batch_size)
        path = results / f"{file}.json"
        figures = json.loads(path.read_text())["figures"] if path.is_file() else []
        mine = next((each for each in figures if each["what"] == what), None)
        if mine is None:
            raise LookupError(f"no figure {what!r} in {path}: run `python -m benchmarks {file}`")
        found[name] = Measured(path.name, what, mine["value"], mine["unit"])
    return found
