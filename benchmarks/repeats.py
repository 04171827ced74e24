"""What it saves that images and captions repeat: the product with and without repetition."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.album import REPEATED, read_album, write_album
from benchmarks.contestants.entry import Entry
from benchmarks.figures import Figure, Result
from benchmarks.race import first_cores, race
from benchmarks.random_weights import write_weights

PAIRS, QUICK_PAIRS = 128, 32
ROUNDS, QUICK_ROUNDS = 5, 2
QUICK_LAYERS = 2
LEAST = 1.35
OURS = "ours, float32"


def measure(quick: bool) -> Result:
    """Pairs per second on one core, of as many pairs with 30 % repeated and with none."""
    pairs = QUICK_PAIRS if quick else PAIRS
    sets = {"mix": pairs, "repeats": pairs}
    with TemporaryDirectory(prefix="clip-benchmark-") as folder:
        weights, album = Path(folder) / "weights", Path(folder) / "album"
        write_weights(weights, layers=QUICK_LAYERS if quick else None)
        album.mkdir()
        write_album(album, sets)
        distinct = len({each.path for each in read_album(album)["repeats"]})
        entry = Entry("product", str(album), first_cores(1), str(weights))
        found = race({OURS: [entry]}, sets, QUICK_ROUNDS if quick else ROUNDS)
    repeated, plain = found.rate(OURS, "repeats"), found.rate(OURS, "mix")
    figure = Figure(
        f"end to end, {OURS}, {REPEATED:.0%} repeated", repeated, "pairs/s",
        plain, "none repeated", {f">= {LEAST}x": repeated >= LEAST * plain},
    )  # fmt: skip
    details = {"pairs": pairs, "images": distinct, "seconds": found.details()}
    return Result([figure], details=details)
