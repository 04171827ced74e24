"""Scoring a CSV file with a scorer that costs nothing: what reading, keeping and writing cost."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from benchmarks.figures import Figure, Result, middle
from clip_scoring.files.score import FileScoring
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.fake import FakeScorer
from clip_scoring.ports import DecodedImage, LoadedImages
from clip_scoring.records import Outcome, Record, Score
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.stages import Read, ScoredBatch, load_ahead, score_ahead
from tests.files.fake import PretendScorer

SMALL, LARGE, QUICK = 10_000, 1_000_000, 100_000
ROUNDS = 5
FEWEST_PER_SECOND = 50_000
MOST_GROWTH_MB = 16.0
BATCH = 512
"""A scorer that is as fast as this one would be asked for many at once."""
IMAGE = DecodedImage(np.zeros((2, 2, 3), np.uint8), b"")
NOTHING = StageMetrics()
TABLE: list[Outcome] = [Score(float(np.float32(n / 9973 - 0.5)), False) for n in range(9973)]


class InstantScorer(PretendScorer):
    """Outcomes from a table, so that all that is timed is around the scorer."""

    def score_batches(self, reads: Iterator[Read]) -> Iterator[ScoredBatch]:
        batches = load_ahead(reads, loader=_OneImage(), batch_size=self.options.batch_size)
        return score_ahead(batches, scorer=_FromTable())


class _OneImage:
    def load(self, records: Sequence[Record]) -> LoadedImages:
        return LoadedImages([IMAGE] * len(records), NOTHING)


class _FromTable(FakeScorer):
    def score(
        self,
        images: Sequence[DecodedImage | None],
        captions: Sequence[str | None],  # noqa: ARG002  # the port's
    ) -> list[Outcome]:
        return TABLE[: len(images)]


def measure(quick: bool) -> Result:
    """Score a small file and a large one, each in processes of its own, beside a plain copy."""
    large, rounds = (QUICK, 2) if quick else (LARGE, ROUNDS)
    with TemporaryDirectory(prefix="clip-files-") as made:
        files = {rows: _written(Path(made), rows) for rows in (SMALL, large)}
        turns, copies = [], []
        for _ in range(rounds):
            turns.append({rows: _in_process(path) for rows, path in files.items()})
            copies.append(_copied(files[large]))
    rate = large / middle([each[large][0] for each in turns])
    memory = {rows: middle([each[rows][1] for each in turns]) for rows in files}
    growth = memory[large] - memory[SMALL]
    return Result(
        [
            Figure(
                f"rows per second, {large:,} rows, batches of {BATCH}",
                rate, "/s", large / middle(copies),
                "csv.reader to csv.writer, once",
                {f">= {FEWEST_PER_SECOND:,}/s": rate >= FEWEST_PER_SECOND},
            ),
            Figure(f"peak memory, {SMALL:,} rows", memory[SMALL], "MB"),
            Figure(
                f"peak memory, {large:,} rows", memory[large], "MB", memory[SMALL],
                f"that of {SMALL:,} rows",
                {f"at most {MOST_GROWTH_MB:g} MB more": growth <= MOST_GROWTH_MB},
            ),
        ],
        details={"turns": turns, "copies": copies},
    )  # fmt: skip


def _written(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write("id,url,caption,licence\n")
        for number in range(rows):
            url = f"https://images.example.org/{number % 997}/{number}.jpg"
            stream.write(f'{number:08},{url},"a photo, number {number}, of something",CC-BY\n')
    return path


def _in_process(path: Path) -> tuple[float, float]:
    """Seconds and megabytes of one call."""
    command = (sys.executable, "-m", "benchmarks.files", str(path))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory_mb = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory_mb


def _copied(path: Path) -> float:
    started = perf_counter()
    with (
        path.open(encoding="utf-8", newline="") as reading,
        path.with_suffix(".copy").open("w", encoding="utf-8", newline="") as writing,
    ):
        csv.writer(writing).writerows(csv.reader(reading))
    return perf_counter() - started


def score(path: Path) -> None:
    """Score the file from nothing; print seconds and peak memory in megabytes."""
    started = perf_counter()
    options = FileOptions.of({"path": path, "force": True, "resume": False})
    with closing(FileScoring(options, {}, InstantScorer(batch_size=BATCH))) as scoring:  # type: ignore[arg-type]
        result = scoring.run(watch=lambda _: None, stopping=lambda: False)
        scoring.discard_journal_if_clean(result)
    seconds = perf_counter() - started
    status = Path("/proc/self/status").read_text()
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    print(json.dumps([seconds, peak_kb / 1024]))


if __name__ == "__main__":
    score(Path(sys.argv[1]))
