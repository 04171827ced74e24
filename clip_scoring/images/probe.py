"""Finds records whose loading kills a process, by loading them one by one in other processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from clip_scoring.ports import Loader
from clip_scoring.records import Record


@dataclass(frozen=True, slots=True)
class ProcessProbe:
    """Probes in processes started by `command`, which must call `load_one_by_one`."""

    command: Sequence[str]

    def deadly(self, records: Sequence[Record]) -> list[int]:
        """Positions of the records whose loading ended a process twice, the second time alone."""
        found: list[int] = []
        at = 0
        while (died := self._first_death(records[at:])) is not None:
            at += died
            if self._first_death(records[at : at + 1]) is not None:
                found.append(at)
            at += 1
        return found

    def _first_death(self, records: Sequence[Record]) -> int | None:
        """Position of the record that was being loaded when a signal ended the process."""
        if not records:
            return None
        ended = subprocess.run(
            list(self.command), input=pickle.dumps(list(records)), stdout=subprocess.PIPE,
            check=False,
        )  # fmt: skip
        if ended.returncode >= 0 or not ended.stdout:
            return None
        return len(ended.stdout) - 1


def load_one_by_one(loader: Loader) -> None:
    """The probing process: one byte on stdout before each record of stdin is loaded."""
    records: list[Record] = pickle.load(sys.stdin.buffer)  # noqa: S301  # our parent wrote it
    for record in records:
        sys.stdout.buffer.write(b".")
        sys.stdout.buffer.flush()
        loader.load([record])
