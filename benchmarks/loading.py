"""Loading images on one core against the processor of transformers, and what isolation costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.album import write_album
from benchmarks.contestants.entry import Entry
from benchmarks.figures import Figure, Result
from benchmarks.race import Race, first_cores, race

SETS = {"640x480": 64, "2048x1536": 16, "mix": 48}
QUICK_SETS = {"640x480": 8, "2048x1536": 2, "mix": 8}
ROUNDS, QUICK_ROUNDS = 7, 2
TARGETS = {"640x480": 2.5, "2048x1536": 2.5, "mix": 2.2}
FAST, EXACT = "decode(), tier fast", "decode(), tier exact"
REFERENCE = "Pillow and the processor"
THREADS, ISOLATED = "threads, 2 cores", "isolated processes, 2 cores"
ONE_ISOLATED = "isolated process, 1 core"


def measure(quick: bool) -> Result:
    """Images per second of each way to load, all of them over the same files."""
    sets = QUICK_SETS if quick else SETS
    with TemporaryDirectory(prefix="clip-benchmark-") as folder:
        write_album(Path(folder), sets)
        found = race(_teams(folder), sets, QUICK_ROUNDS if quick else ROUNDS)
    return Result(_figures(found), details={"seconds": found.details(), "images": sets})


def _teams(album: str) -> dict[str, Sequence[Entry]]:
    one, two = first_cores(1), first_cores(2)
    return {
        FAST: [Entry("decode", album, one)],
        EXACT: [Entry("decode", album, one, tier="exact")],
        REFERENCE: [Entry("processor", album, one)],
        ONE_ISOLATED: [Entry("isolated", album, one)],
        THREADS: [Entry("threads", album, two)],
        ISOLATED: [Entry("isolated", album, two)],
    }


def _figures(found: Race) -> list[Figure]:
    compared = ((FAST, REFERENCE), (EXACT, REFERENCE), (ONE_ISOLATED, FAST), (ISOLATED, THREADS))
    rates = [
        _compared(found, name, baseline, course)
        for name, baseline in compared
        for course in found.sizes
    ]
    memory = [
        Figure(f"peak memory, {name}", megabytes, "MB")
        for name, megabytes in found.memory_mb.items()
    ]
    return [*rates, *memory]


def _compared(found: Race, name: str, baseline: str, course: str) -> Figure:
    mine, theirs = found.rate(name, course), found.rate(baseline, course)
    least = TARGETS[course]
    targets = {f">= {least}x": mine >= least * theirs} if name == FAST else {}
    return Figure(f"{course}: {name}", mine, "images/s", theirs, baseline, targets)
