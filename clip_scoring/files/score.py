"""A CSV of pairs in, the same CSV with similarities out, whatever interrupts it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from random import Random
from time import monotonic
from typing import cast

from clip_scoring.api import Scorer, resolve_uri
from clip_scoring.errors import Interrupted, SettingsInvalid
from clip_scoring.files.journal import Entry, Journal
from clip_scoring.files.pair_rows import PairRows
from clip_scoring.files.reader import CsvRow
from clip_scoring.files.tally import ScoredPair, Tally
from clip_scoring.files.writer import (
    Layout,
    format_of,
    require_apart,
    require_place,
)
from clip_scoring.filesystem import atomic_writer
from clip_scoring.fingerprint import Fingerprint
from clip_scoring.metrics import StageMetrics
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Outcome, Record, Rejection
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.settings.scorer_options import ScorerChoices
from clip_scoring.stages import Read, ScoredBatch

SYNC_SECONDS = 10.0
"""However slowly pairs come, so much work at most is not yet safe."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of this call within the pass it is at, and of that pass."""

    done: int
    rejected: int
    share: float
    """Of the file, from 0 to 1, with what earlier calls did."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """Figures of the output, and the metrics over all calls."""

    output: Path
    tally: Tally
    measures: StageMetrics
    throughput: list[tuple[float, int]]
    """Seconds of work and outcomes until then, at most some hundred points."""
    fingerprint: Fingerprint
    device: str
    new: int
    """Outcomes of this call."""


Watch = Callable[[Progress], None]
Stopping = Callable[[], bool]


class FileScoring:
    """One input, one output, one journal beside it; close it to stop its processes.

    Killed at any moment and called again it ends with the bytes of an unbroken run.
    """

    def __init__(
        self, options: FileOptions, choices: ScorerChoices, scorer: Scorer | None = None
    ) -> None:
        """Look at everything that can be wrong before anything is scored.

        Raises SettingsInvalid, ObjectUnreadable, WeightsInvalid or WeightsUnreachable.
        """
        self.options = options
        self._journal: Journal | None = None
        self._shares: deque[float] = deque()
        """Of the file, up to each batch that was read and is not scored yet."""
        self._write = format_of(options.output_path)
        require_apart(options.path, options.output_path, options.journal)
        self.scorer = scorer or Scorer(**choices)
        folder = str(options.path.absolute().parent)
        # Relative paths begin beside the file, or at the image root, which the loader sees to.
        self._resolve_uri: Callable[[str], str] = (
            str if self.scorer.options.image_root else partial(resolve_uri, folder=folder)
        )
        self.rows = PairRows(options, self._resolve_uri)
        self.file = self.rows.file
        self._layout = Layout(
            self.file.columns,
            self.file.dialect,
            options.column_prefix,
            options.excel_safe,
            self.scorer.fingerprint.digest,
        )
        require_place(options.output_path, self._layout)
        self._require_room()

    def run(self, *, watch: Watch, stopping: Stopping) -> FileResult:
        """Score what is not scored yet, then put the output into its place.

        `watch` is told after each batch. Raises Interrupted when `stopping`, with everything so
        far safe in the journal; JournalBusy while somebody else is at it.
        """
        options = self.options
        journal = Journal.open(
            options.journal,
            self._inputs(),
            restart=not options.resume,
            overwrite=options.force,
        )
        self._journal = journal
        self._require_own_output(journal)
        new = sum(
            self._score(journal, number, watch, stopping) for number in self._open_passes(journal)
        )
        return self._finished(journal, new)

    def discard_journal_if_clean(self, result: FileResult) -> None:
        """Everything was made of the result; the journal stays only where a retry may want it."""
        if self._journal is not None and not result.tally.rejected:
            self._journal.discard()

    def images(self, pairs: Sequence[ScoredPair]) -> Sequence[DecodedImage | Rejection]:
        """The images of pairs as the image tower sees them, loaded again."""
        return self.scorer.load(
            [
                Record(at, self._resolve_uri(pair.image_uri), pair.caption)
                for at, pair in enumerate(pairs)
            ]
        )

    def close(self) -> None:
        """End the scorer, and give the journal up to others."""
        self.scorer.close()
        if self._journal is not None:
            self._journal.close()

    def _inputs(self) -> Mapping[str, str]:
        """The inputs of outcomes and output, by name; with others the journal is of no use."""
        options = self.options
        inputs: dict[str, object] = {
            "input": self.file.stored.version,
            "image column": options.image,
            "caption column": options.caption,
            "delimiter": self.file.dialect.delimiter,
            "header": options.has_header,
            "prefix": options.prefix,
            "limit": options.limit,
            "seed": options.seed,
            "batch size": self.scorer.options.batch_size,
            "column prefix": options.column_prefix,
            "excel safe": options.excel_safe or None,
            "image root": self.scorer.options.image_root,
            **self.scorer.fingerprint.parts(),
        }
        return {
            name.replace("_", " "): str(value)
            for name, value in inputs.items()
            if value not in (None, "")
        }

    def _require_room(self) -> None:
        """Say at once that the output exists, not after hours."""
        options = self.options
        kept = options.resume and options.journal.exists()
        if options.output_path.exists() and not options.force and not kept:
            raise SettingsInvalid(f"{options.output_path} exists: --force overwrites it")

    def _require_own_output(self, journal: Journal) -> None:
        """Only an output that was made of this very journal is replaced without being asked."""
        output = self.options.output_path
        if self.options.force or not output.exists():
            return
        # Of a retry that was interrupted there is still the output that was made before it.
        if _sha256(output) not in journal.outputs:
            raise SettingsInvalid(f"{output} exists already: --force overwrites it")

    def _open_passes(self, journal: Journal) -> list[int]:
        """Passes by number: one that is unfinished, then one that is asked for."""
        started = len(journal.passes)
        unfinished = not journal.passes or not journal.passes[-1].done
        numbers = [max(started - 1, 0)] if unfinished else []
        if self.options.retry_rejected and started and not (unfinished and started > 1):
            numbers.append(started)
        return numbers

    def _score(self, journal: Journal, number: int, watch: Watch, stopping: Stopping) -> int:
        """Do one pass, or what is left of it; how many outcomes it gave."""
        if number == len(journal.passes):
            journal.begin_pass(self.scorer.device)
        done = rejected = unsynced = 0
        synced = monotonic()
        try:
            with closing(self._reads(journal, number)) as reads:
                for batch in self.scorer.score_batches(_until(stopping, reads)):
                    journal.append(_entry(batch))
                    done, unsynced = done + len(batch.records), unsynced + len(batch.records)
                    rejected += len(batch.records) - batch.scored
                    late = monotonic() - synced > SYNC_SECONDS
                    if late or unsynced >= self.options.commit_every:
                        journal.sync()
                        synced, unsynced = monotonic(), 0
                    watch(Progress(done, rejected, self._shares.popleft()))
                    _require_going(stopping)
        finally:
            journal.sync()
        journal.end_pass()
        return done

    def _reads(self, journal: Journal, number: int) -> Generator[Read]:
        """The pass in batches, on the same grid however often it was interrupted."""
        last = journal.passes[number].last
        size = self.scorer.options.batch_size
        with closing(iter(self.rows)) as rows:
            wanted = _rejected(rows, journal.outcomes(before=number)) if number else rows
            record = self.rows.record
            records = (record(index, row) for index, row in wanted if index > last)
            started = monotonic()
            while batch := list(islice(records, size)):
                measures = StageMetrics({"read": monotonic() - started})
                self._shares.append(self.rows.share_at(batch[-1].key))
                yield Read(batch, batch[-1].key, measures)
                started = monotonic()

    def _finished(self, journal: Journal, new: int) -> FileResult:
        """Write the output unless it is there, and count what is in it."""
        tally = Tally(Random(self.options.seed or 0).random)
        rows = self._counted(tally, journal)
        output = self.options.output_path
        if output.exists() and _is_of(journal, output):
            for _ in rows:
                pass
        else:
            with atomic_writer(output) as stream:
                self._write(stream, rows, self._layout)
                stream.seek(0)
                journal.note_output(file_digest(stream, "sha256").hexdigest())
        return FileResult(
            output,
            tally,
            journal.measures,
            journal.throughput.points,
            self.scorer.fingerprint,
            journal.passes[0].device,
            new,
        )

    def _counted(self, tally: Tally, journal: Journal) -> Iterator[tuple[CsvRow, Outcome]]:
        with closing(iter(self.rows)) as rows:
            for outcomes in journal.blocks():
                indexed = list(islice(rows, len(outcomes)))
                tally.count(outcomes, partial(_texts, self.rows, indexed))
                yield from zip([row for _, row in indexed], outcomes, strict=True)
            if next(rows, None):
                raise ValueError(f"{journal.path}: fewer outcomes than rows")


def _texts(rows: PairRows, indexed: Sequence[tuple[int, CsvRow]], at: int) -> tuple[str, str, str]:
    return rows.texts(*indexed[at])


def _until(stopping: Stopping, reads: Iterator[Read]) -> Iterator[Read]:
    """Batches asked for here are loaded some batches ahead of scoring."""
    for batch in reads:
        _require_going(stopping)
        yield batch


def _require_going(stopping: Stopping) -> None:
    if stopping():
        raise Interrupted("interrupted: the same command goes on where this one stopped")


def _entry(batch: ScoredBatch) -> Entry:
    row_indexes = [record.key for record in batch.records]
    return Entry(cast("list[int]", row_indexes), batch.outcomes, batch.measures)


def _rejected(
    rows: Iterable[tuple[int, CsvRow]], outcomes: Iterable[tuple[int, Outcome]]
) -> Iterator[tuple[int, CsvRow]]:
    for indexed, (_, outcome) in zip(rows, outcomes, strict=True):
        if isinstance(outcome, Rejection):
            yield indexed


def _is_of(journal: Journal, output: Path) -> bool:
    """Whether the output is what this journal, as it is now, was made into."""
    return bool(journal.output_sha256) and _sha256(output) == journal.output_sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
