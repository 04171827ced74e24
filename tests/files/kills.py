"""Kills of `clip-scoring score` at random moments, until an output is there to be compared."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic

from tests.files.fake import DIE_AT, REPOSITORY, run
from tests.support.warm import WarmCommand

ROWS = 60_000
BATCH, COMMIT = 64, 640


@dataclass(frozen=True)
class Ended:
    """How a call ended; `killed` when it was by SIGKILL."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def pairs_file(folder: Path, rows: int = ROWS, *, rejected: bool = True) -> Path:
    """Pairs, every hundredth of which is rejected, unless none is."""
    path = folder / "pairs.csv"
    with path.open("w", encoding="utf-8") as stream:
        stream.write("id,url,caption\n")
        for number in range(rows):
            bad = rejected and number % 100 == 7
            stream.write(
                f"{number:08},https://h/{'timeout' if bad else f'{number}.jpg'},caption {number}\n"
            )
    return path


def command(path: Path, *options: str) -> list[str]:
    """The command line with a pretended scorer, from nothing."""
    return [sys.executable, "-m", "tests.files.fake", *arguments(path, *options)]


def arguments(path: Path, *options: str) -> list[str]:
    own = ("--batch-size", str(BATCH), "--commit-every", str(COMMIT), "--quiet")
    return ["score", str(path), *own, *options]


def environment(die_at: str = "") -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), DIE_AT: die_at}


def call(path: Path, *options: str, die_at: str = "", kill_after: float | None = None) -> Ended:
    """One call, which kills itself where it is told to, or is killed after so many seconds."""
    started = monotonic()
    with TemporaryDirectory() as folder:
        running = WarmCommand(
            *arguments(path, *options),
            env=environment(die_at), folder=Path(folder), program=run,
        )  # fmt: skip
        if kill_after is not None and running.running(kill_after):
            running.signal(signal.SIGKILL)
        done = running.ended()
        running.close()
    return Ended(done.returncode, done.stdout, done.stderr, monotonic() - started)


@dataclass(frozen=True)
class Figures:
    """What many kills came to."""

    seed: int
    kills: int
    outputs: int
    """Runs that came to their end, each after none, one or several kills."""
    kills_of_unfinished: int
    """Kills that left a journal, and no output yet."""
    different: int
    """Outputs whose bytes are not those of the unbroken run."""
    halves: int
    """Outputs that were there and not whole after a kill."""


def kill_rounds(folder: Path, *, seed: int, kills: int, rows: int = ROWS) -> Figures:
    """Kill so many calls at random moments and go on each time, comparing each output."""
    random = Random(seed)
    path = pairs_file(folder, rows)
    output, journal = folder / "pairs_scored.csv", folder / "pairs_scored.csv.journal"
    unbroken = call(path)
    assert unbroken.code == 0, unbroken.stderr
    expected = output.read_bytes()
    done = outputs = unfinished = different = halves = 0
    fresh = True
    while done < kills:
        if fresh:
            output.unlink()
            journal.unlink()
        ended = call(path, kill_after=unbroken.seconds * random.uniform(0.2, 1.0))
        assert ended.killed or ended.code == 0, ended.stderr
        done += ended.killed
        unfinished += ended.killed and journal.exists() and not output.exists()
        halves += output.exists() and output.read_bytes() != expected
        fresh = not ended.killed
        if not ended.killed or done == kills:
            last = ended if not ended.killed else call(path)
            assert last.code == 0, last.stderr
            outputs += 1
            different += output.read_bytes() != expected
    return Figures(seed, done, outputs, unfinished, different, halves)
