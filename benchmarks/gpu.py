"""The product on a GPU: from memory, from files, and its towers alone, in float16."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.album import write_album
from benchmarks.contestants.entry import Entry
from benchmarks.figures import Figure, Result
from benchmarks.race import Race, first_cores, race
from benchmarks.random_weights import write_weights

SET = "640x480"
ROUNDS, QUICK_ROUNDS = 5, 2
PAIRS = {"ViT-B/32": 16_384, "ViT-L/14": 4096}
QUICK_PAIRS, QUICK_LAYERS = 64, 2
FILES, MEMORY = "from files", "from images in memory"
TOWERS, BEST = "the towers alone", "the best plain loop"
NOT_MEASURED = "not measured: torch sees no GPU"


def measure(quick: bool) -> Result:
    """Pairs per second and device memory of both shapes; all rows missing without a GPU."""
    if not torch.cuda.is_available():
        return Result([], missing={f"GPU, {name}": NOT_MEASURED for name in PAIRS})
    found = {
        name: race_of(name, QUICK_PAIRS if quick else pairs, quick=quick)
        for name, pairs in PAIRS.items()
    }
    return Result(
        [each for name, came in found.items() for each in figures_of(name, came)],
        details={
            "gpu": torch.cuda.get_device_name(),
            "seconds on the GPU": {name: came.details() for name, came in found.items()},
        },
    )


def race_of(
    name: str, pairs: int, *, quick: bool, device: str = "cuda", dtype: str = "float16"
) -> Race:
    """All contestants with random weights of that shape, on all cores."""
    with TemporaryDirectory(prefix="clip-benchmark-") as folder:
        weights, album = Path(folder) / "weights", Path(folder) / "album"
        write_weights(weights, name, layers=QUICK_LAYERS if quick else None)
        album.mkdir()
        write_album(album, {SET: pairs})
        cores = first_cores(10**6)

        def entered(kind: str) -> Sequence[Entry]:
            threads = len(cores)
            return [
                Entry(kind, str(album), cores, str(weights), threads, dtype=dtype, device=device)
            ]

        teams = {
            FILES: entered("product"),
            MEMORY: entered("product in memory"),
            TOWERS: entered("model"),
            BEST: entered("batches"),
        }
        return race(teams, {SET: pairs}, QUICK_ROUNDS if quick else ROUNDS)


def figures_of(name: str, found: Race) -> list[Figure]:
    """Rates beside those of the towers alone and of a plain loop, and what the device held."""
    rates = {each: found.rate(each, SET) for each in (FILES, MEMORY, TOWERS, BEST)}
    compared = [(FILES, TOWERS), (MEMORY, TOWERS), (FILES, BEST)]
    return [
        *(
            Figure(f"GPU, {name}, {mine}", rates[mine], "pairs/s", rates[theirs], theirs)
            for mine, theirs in compared
        ),
        Figure(f"GPU, {name}, device memory", found.device_mb[FILES], "MB"),
    ]
