"""The journal next to an output: what has been scored so far, append only, safe at each sync."""

from __future__ import annotations

import fcntl
import heapq
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BufferedReader, FileIO
from itertools import islice
from math import nan
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from clip_scoring.errors import JournalBusy, SettingsInvalid
from clip_scoring.filesystem import named_errors, sync_folder
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Outcome, Reason, Rejection, Score

_FORMAT, _BLOCK = 2, 256
_SUM_BYTES, _START = 8, b' {"journal":'
"""How the first line begins: its checksum, then this."""
RowIndex = int
"""The index of a row among those that are scored, from 0."""


class Entry(NamedTuple):
    """One batch: the indexes of its rows, ascending, their outcomes, and what scoring them took."""

    row_indexes: Sequence[RowIndex]
    outcomes: Sequence[Outcome]
    measures: StageMetrics


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over rows, in the order of their indexes: all of them, or what had been rejected."""

    start: int
    """The byte that its first entry begins at."""
    stop: int
    device: str = ""
    """The device that it started on."""
    done: bool = False
    last: RowIndex = -1
    """The last row that it has an outcome for."""
    measures: StageMetrics = field(default_factory=StageMetrics)


class Throughput:
    """Outcomes over seconds of work, thinned out evenly: never more than `most` points."""

    def __init__(self, most: int = 500) -> None:
        self._points, self._most, self._stride = [(0.0, 0)], most, 1
        self._seconds, self._done, self._seen = 0.0, 0, 0

    @property
    def points(self) -> list[tuple[float, int]]:
        """(seconds, outcomes until then), from the first to the last."""
        last = (self._seconds, self._done)
        return self._points if self._points[-1] == last else [*self._points, last]

    def add(self, seconds: float, outcomes: int) -> None:
        """A batch more."""
        self._seconds, self._done = self._seconds + seconds, self._done + outcomes
        self._seen += 1
        if self._seen % self._stride == 0:
            self._points.append((self._seconds, self._done))
        if len(self._points) > self._most:
            self._points, self._stride = self._points[::2], self._stride * 2


class Journal:
    """Outcomes of a file's rows in passes; those of a later pass replace those before.

    Each line carries its own checksum. What stands behind the last whole line was never promised,
    and is cut off. One process at a time may have the journal open.
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file
        self._size = 0
        """With what is not written yet."""
        self._unwritten: list[bytes] = []
        self.passes: list[Pass] = []
        self.output_sha256 = ""
        """Of the output that was made of it as it is now, if there is one."""
        self.outputs: set[str] = set()
        """Hashes of all outputs that were ever made of it."""
        self.throughput = Throughput()

    @classmethod
    def open(
        cls,
        path: Path,
        inputs: Mapping[str, str],
        *,
        restart: bool = False,
        overwrite: bool = False,
    ) -> Journal:
        """The journal at the path, or a new one, of what `inputs` say is scored and how.

        `restart` empties it, `overwrite` does so where its output is complete and was made from
        other inputs; without an outcome it is free for anything. Raises SettingsInvalid with the
        inputs that differ, JournalBusy while another process has it open.
        """
        # Not truncated before it is locked: it may be somebody else's.
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _require_journal(path, file)
            if restart:
                file.truncate(0)
            journal = cls(path, file)
            differences = journal._read(dict(inputs))
            if differences and (journal.is_empty or (overwrite and journal.output_sha256)):
                file.seek(0)
                file.truncate()
                journal = cls(path, file)
                differences = journal._read(dict(inputs))
            if differences:
                raise SettingsInvalid(
                    f"{path} was started with different options: {differences}. Use the same "
                    "options again, or restart with --no-resume"
                )
        except BlockingIOError as busy:
            file.close()
            raise JournalBusy(f"{path}: another process is scoring into it") from busy
        except BaseException:
            file.close()
            raise
        return journal

    def begin_pass(self, device: str) -> None:
        """Start a new pass; later entries belong to it."""
        self._write({"pass": len(self.passes), "device": device})
        self.passes.append(Pass(self._size, self._size, device))
        self.output_sha256 = ""

    def append(self, entry: Entry) -> None:
        """Add a batch to the last pass; it is safe after the next `sync`."""
        tree = {
            "places": _ranged(entry.row_indexes),
            **_columns(entry.outcomes),
            "measures": entry.measures.as_json(),
        }
        self._write(tree)
        self._grow(entry.row_indexes, entry.measures, self._size)

    def end_pass(self) -> None:
        """The last pass has an outcome for each of its rows."""
        self._write({"done": len(self.passes) - 1})
        self.passes[-1] = replace(self.passes[-1], done=True)
        self.sync()

    def note_output(self, sha256: str) -> None:
        """An output with this hash is about to take its place."""
        self._write({"output": sha256})
        self.output_sha256 = sha256
        self.outputs.add(sha256)
        self.sync()

    def sync(self) -> None:
        """Everything so far is on the disk when this returns."""
        self._flush()
        with named_errors(self.path):
            os.fsync(self._file.fileno())

    def outcomes(self, *, before: int | None = None) -> Iterator[tuple[RowIndex, Outcome]]:
        """Each row that has an outcome with its newest one, ascending.

        Of the first `before` passes, or of all; a few batches are in memory, no more.
        """
        self._flush()
        streams = [self._indexed_outcomes(number) for number in range(len(self.passes[:before]))]
        merged = heapq.merge(*streams, key=lambda entry: entry[:2])
        current: tuple[RowIndex, Outcome] | None = None
        for row_index, _, outcome in merged:
            if current is not None and current[0] != row_index:
                yield current
            current = row_index, outcome
        if current is not None:
            yield current

    def blocks(self) -> Iterator[Sequence[Outcome]]:
        """The newest outcomes of all rows, ascending, some at a time."""
        if len(self.passes) == 1:
            yield from (entry.outcomes for entry in self.entries(0))
            return
        newest = (outcome for _, outcome in self.outcomes())
        while block := list(islice(newest, _BLOCK)):
            yield block

    def entries(self, number: int) -> Iterator[Entry]:
        """The batches of one pass in their order."""
        self._flush()
        one = self.passes[number]
        with self.path.open("rb") as reading:
            reading.seek(one.start)
            while reading.tell() < one.stop:
                tree = _checked(reading.readline())
                if tree and "places" in tree:
                    yield _entry(tree)

    @property
    def is_empty(self) -> bool:
        """Whether it has not one outcome."""
        return all(pass_.last < 0 for pass_ in self.passes)

    @property
    def measures(self) -> StageMetrics:
        """Of all passes."""
        return sum((pass_.measures for pass_ in self.passes), StageMetrics())

    def close(self) -> None:
        """Give the journal up to others; what was not synced may be lost."""
        self._file.close()

    def discard(self) -> None:
        """Delete it."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def _indexed_outcomes(self, number: int) -> Iterator[tuple[RowIndex, int, Outcome]]:
        for entry in self.entries(number):
            for row_index, outcome in zip(entry.row_indexes, entry.outcomes, strict=True):
                yield row_index, number, outcome

    def _read(self, inputs: dict[str, str]) -> str:
        """Find the passes; cut off what is torn; write the first line of a new journal.

        Returns the inputs that differ from those it was started with.
        """
        whole, differences = 0, ""
        for line in BufferedReader(FileIO(self._file.fileno(), closefd=False)):
            tree = _checked(line)
            if tree is None:
                break
            if whole == 0:
                differences = _differences(tree, inputs)
            whole += len(line)
            self._note(tree, whole)
        self._size = whole
        self._file.seek(whole)
        self._file.truncate()
        if whole == 0:
            self._write({"journal": _FORMAT, "tied": inputs})
            self.sync()
            sync_folder(self.path.parent)
        return differences

    def _note(self, tree: dict[str, Any], whole: int) -> None:
        if "pass" in tree:
            self.passes.append(Pass(whole, whole, tree["device"]))
            self.output_sha256 = ""
        elif "places" in tree:
            self._grow(_row_indexes(tree), StageMetrics.of_json(tree["measures"]), whole)
        elif "done" in tree:
            self.passes[-1] = replace(self.passes[-1], done=True)
        elif "output" in tree:
            self.output_sha256 = tree["output"]
            self.outputs.add(self.output_sha256)

    def _grow(self, row_indexes: Sequence[RowIndex], measures: StageMetrics, stop: int) -> None:
        last = self.passes[-1]
        self.passes[-1] = replace(
            last, stop=stop, last=row_indexes[-1], measures=last.measures + measures
        )
        self.throughput.add(measures.seconds.get("wall", 0.0), len(row_indexes))

    def _write(self, tree: Mapping[str, object]) -> None:
        text = json.dumps(tree, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (crc32(text), text)
        self._unwritten.append(line)
        self._size += len(line)

    def _flush(self) -> None:
        """Write all, or raise; what was written of it in vain is torn and found out as such."""
        lines, self._unwritten = memoryview(b"".join(self._unwritten)), []
        with named_errors(self.path):
            while lines:
                lines = lines[self._file.write(lines) :]


def _require_journal(path: Path, file: FileIO) -> None:
    """Raise SettingsInvalid for a file that is not even the torn beginning of a journal."""
    head = os.pread(file.fileno(), _SUM_BYTES + len(_START), 0).rstrip(b"\0")
    digits = set(head[:_SUM_BYTES]) <= set(b"0123456789abcdef")
    if not (digits and _START.startswith(head[_SUM_BYTES:])):
        raise SettingsInvalid(
            f"{path} is not a journal: move it away, the journal of this output has that name"
        )


def _differences(tree: dict[str, Any], inputs: dict[str, str]) -> str:
    journal: dict[str, str] = tree.get("tied", {}) if tree.get("journal") == _FORMAT else {}
    return "; ".join(
        f"{name} was {journal.get(name, 'not given')}, is {inputs.get(name, 'not given')}"
        for name in sorted({*journal, *inputs})
        if journal.get(name) != inputs.get(name)
    )


def _checked(line: bytes) -> dict[str, Any] | None:
    """The object on the line; None for a torn one."""
    if not line.endswith(b"\n") or line[8:9] != b" " or b"%08x" % crc32(line[9:-1]) != line[:8]:
        return None
    tree: dict[str, Any] = json.loads(line[9:])
    return tree


def _entry(tree: Mapping[str, Any]) -> Entry:
    return Entry(_row_indexes(tree), _outcomes(tree), StageMetrics.of_json(tree["measures"]))


def _row_indexes(tree: Mapping[str, Any]) -> Sequence[RowIndex]:
    """The row indexes that `_ranged` wrote."""
    row_indexes = tree["places"]
    return range(*row_indexes["range"]) if isinstance(row_indexes, dict) else row_indexes


def _ranged(row_indexes: Sequence[RowIndex]) -> dict[str, list[int]] | list[int]:
    first, last = row_indexes[0], row_indexes[-1]
    if last - first + 1 == len(row_indexes):
        return {"range": [first, last + 1]}
    return list(row_indexes)


def _columns(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Similarities as float32 in base64, NaN for a rejection; what is rare by index."""
    scored = (outcome.similarity if isinstance(outcome, Score) else nan for outcome in outcomes)
    similarities = np.fromiter(scored, "<f4", len(outcomes))
    truncated = [
        at
        for at, outcome in enumerate(outcomes)
        if isinstance(outcome, Score) and outcome.caption_truncated
    ]
    rejections = {
        at: [str(outcome.reason), outcome.detail]
        for at, outcome in enumerate(outcomes)
        if isinstance(outcome, Rejection)
    }
    return {
        "similarities": b64encode(similarities.tobytes()).decode(),
        **({"truncated": truncated} if truncated else {}),
        **({"rejections": rejections} if rejections else {}),
    }


def _outcomes(tree: Mapping[str, Any]) -> list[Outcome]:
    """The columns that `_columns` wrote."""
    similarities = np.frombuffer(b64decode(tree["similarities"]), "<f4").tolist()
    scores: list[Outcome] = [Score(similarity, False) for similarity in similarities]
    for at in tree.get("truncated", ()):
        scores[at] = Score(similarities[at], True)
    for at, (reason, detail) in tree.get("rejections", {}).items():
        scores[int(at)] = Rejection(Reason(reason), detail)
    return scores
