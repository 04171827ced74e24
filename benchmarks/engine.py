"""From files to similarities: the product against the loops that people write, and its towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import gpu
from benchmarks.album import write_album
from benchmarks.contestants.entry import Entry
from benchmarks.figures import Figure, Result
from benchmarks.race import Race, first_cores, race
from benchmarks.random_weights import write_weights

SET = "mix"
PAIRS, QUICK_PAIRS = 64, 16
ROUNDS, QUICK_ROUNDS = 5, 2
QUICK_LAYERS = 2
OURS, INT8 = "ours, float32", "ours, int8"
LOOP, BEST = "a loop, pair by pair", "the best plain loop"
METRIC, OPEN_CLIP = "torchmetrics CLIPScore", "open_clip"
MODEL, INT8_MODEL = "the towers alone, float32", "the towers alone, int8"
TWO_PROCESSES, TWO_THREADS = "2 processes of 1 thread", "1 process of 2 threads"
COMPARED: Sequence[tuple[str, str, float | None]] = (
    (OURS, LOOP, 1.6),
    (OURS, BEST, 1.15),
    (OURS, METRIC, None),
    (OURS, OPEN_CLIP, None),
    (INT8, BEST, 1.6),
    (OURS, MODEL, 0.93),
    (INT8, INT8_MODEL, None),
    (TWO_PROCESSES, TWO_THREADS, None),
)
"""Contestant, baseline, and the ratio that is wanted at least."""
TOLERANCES = {OURS: 2e-4, INT8: 3e-2, LOOP: 1e-5, TWO_PROCESSES: 2e-4, TWO_THREADS: 2e-4}
"""Who computed something else than the best plain loop has not taken part in this race."""


def measure(quick: bool) -> Result:
    """Pairs per second on one core, on two, and on a GPU where there is one."""
    with TemporaryDirectory(prefix="clip-benchmark-") as folder:
        weights, album = Path(folder) / "weights", Path(folder) / "album"
        write_weights(weights, layers=QUICK_LAYERS if quick else None)
        album.mkdir()
        sets = {SET: QUICK_PAIRS if quick else PAIRS}
        write_album(album, sets)
        rounds = QUICK_ROUNDS if quick else ROUNDS
        found = race(_teams(str(album), str(weights)), sets, rounds)
    off = _differences(found)
    on_gpu = gpu.measure(quick)
    return Result(
        [*figures(found, COMPARED, SET), *_memory(found), *on_gpu.figures],
        details={
            "pairs": sets, "seconds": found.details(), "largest difference": off, **on_gpu.details
        },
        missing={**_missing(found), **on_gpu.missing},
    )  # fmt: skip


def _teams(album: str, weights: str) -> dict[str, Sequence[Entry]]:
    one, two = first_cores(1), first_cores(2)

    def alone(kind: str, dtype: str = "float32") -> list[Entry]:
        return [Entry(kind, album, one, weights, dtype=dtype)]

    teams: dict[str, Sequence[Entry]] = {
        OURS: alone("product"),
        LOOP: alone("pair by pair"),
        BEST: alone("batches"),
        METRIC: alone("torchmetrics"),
        OPEN_CLIP: alone("open_clip"),
        INT8: alone("product", "int8"),
        MODEL: alone("model"),
        INT8_MODEL: alone("model", "int8"),
        TWO_THREADS: [Entry("product", album, two, weights, threads=2)],
    }
    if len(two) == 2:
        teams[TWO_PROCESSES] = [
            Entry("product", album, (core,), weights, share=(at, 2)) for at, core in enumerate(two)
        ]
    return teams


def figures(
    found: Race, compared: Sequence[tuple[str, str, float | None]], course: str
) -> list[Figure]:
    """One for each pair of contestants that both took part."""
    return [
        _compared(found.rate(name, course), found.rate(baseline, course), name, baseline, least)
        for name, baseline, least in compared
        if found.seconds.keys() >= {(name, course), (baseline, course)}
    ]


def _compared(mine: float, theirs: float, name: str, baseline: str, least: float | None) -> Figure:
    targets = {} if least is None else {f">= {least}x": mine >= least * theirs}
    return Figure(f"end to end, {name}", mine, "pairs/s", theirs, baseline, targets)


def _memory(found: Race) -> list[Figure]:
    return [Figure(f"peak memory, {name}", mb, "MB") for name, mb in found.memory_mb.items()]


def _missing(found: Race) -> Mapping[str, str]:
    alone = {} if TWO_PROCESSES in found.memory_mb else {TWO_PROCESSES: "there is but one core"}
    return {**found.absent, **alone}


def _differences(found: Race) -> dict[str, float]:
    """The largest |difference| to the best plain loop; raises where it is too large."""
    expected = np.array(found.values[BEST, SET])
    off = {
        name: float(np.abs(np.array(found.values[name, SET]) - expected).max())
        for name in TOLERANCES
        if (name, SET) in found.values
    }
    for name, largest in off.items():
        if not largest <= TOLERANCES[name]:
            raise RuntimeError(f"{name}: similarities off by {largest:g}: not the same work")
    return {name: round(largest, 9) for name, largest in off.items()}
