"""Every adapter of Source and Sink over the same pairs, for the suites that all of them pass."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pyarrow
import pyarrow.parquet
from sqlalchemy import Engine, text

from clip_scoring.database.connection import transaction
from clip_scoring.database.runs import PostgresRuns
from clip_scoring.database.sink import PostgresSink
from clip_scoring.memory.runs import InMemoryRunStore
from clip_scoring.memory.source import MemorySource
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.fake import FAKE_FINGERPRINT
from clip_scoring.planning import plan_run
from clip_scoring.ports import Runs, Sink, Source
from clip_scoring.records import Key, Outcome, Record
from clip_scoring.run_metrics import RunMetrics
from clip_scoring.runs import Rescore, Run, RunRequest, Selection, Trigger, Window, WindowKind
from clip_scoring.settings.registrations import TablePlace
from clip_scoring.sources.files import FileSource
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.stored_objects import ObjectStore
from clip_scoring.sources.table import PostgresSource

SINKS = ("memory-int", "table-bigint", "table-text")
TODAY = datetime.now(UTC).date()
Pairs = Sequence[tuple[str, str]]
PAIRS: Pairs = [(f"image-{n:02}.jpg", f"caption {n}") for n in range(25)]


class Clock:
    """The memory book's time, which a test may move."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


@dataclass
class Adapter:
    """One source with its sink."""

    source: Source
    runs: Runs
    sink: Sink
    let_time_pass: Callable[[], None]
    """Makes every retry due."""
    metrics: Callable[[Run], RunMetrics]
    """Of a closed run."""
    started: int = field(default=0)

    def request(self, run_key: str = "", *, day: date = TODAY, **options: object) -> RunRequest:
        self.started += 1
        settings = {"batch_size": 5, "shard_size": 10, **options}
        window = Window.of_day(day, settings.pop("window", WindowKind.UP_TO_DAY))  # type: ignore[arg-type]
        key = run_key or f"run {self.started}"
        return RunRequest(key, self.source.name, FAKE_FINGERPRINT, window, Trigger.CLI, **settings)  # type: ignore[arg-type]

    def pending(self, **options: object) -> Selection:
        """What a run planned now would take, by the source's own stock."""
        request = self.request(**options)  # type: ignore[arg-type]
        self.source.refresh(request.window)
        return self.runs.selection_of(request)

    def score_all(self, decide: Callable[[Record], Outcome], rescore: Rescore) -> list[Record]:
        """Plan a run, commit an outcome for each of its records, and close nothing."""
        request = self.request(rescore=rescore)
        plan = plan_run(request, source=self.source, runs=self.runs)
        done: list[Record] = []
        for shard in plan.shards:
            run, claim = self.sink.claim(shard.shard_id, device="none")
            records = self.source.read_pending(_part(run, claim.start, claim.stop), 1000)
            rows = [(record, decide(record)) for record in records]
            self.sink.commit(claim, claim.stop, rows, StageMetrics())
            done += records
        return done


def _part(run: Run, start: Key, stop: Key) -> Selection:
    from clip_scoring.shards import KeyRange

    return run.selection(KeyRange(start, stop))


def memory(keys: Sequence[Key]) -> Adapter:
    clock = Clock()
    book = InMemoryRunStore(clock)
    records = {key: (Record(key, *pair), clock.now) for key, pair in zip(keys, PAIRS, strict=True)}

    def let_time_pass() -> None:
        clock.now += timedelta(hours=2)

    source = MemorySource("pairs", book, records)
    return Adapter(source, book, book, let_time_pass, lambda run: book.metrics[run.id])


def table(engine: Engine, kind: str, keys: Sequence[Key]) -> Adapter:
    with transaction(engine) as connection:
        connection.execute(text("CREATE SCHEMA shop"))
        connection.execute(
            text(f"CREATE TABLE shop.pairs (sku {kind} PRIMARY KEY, photo text, alt text, at date)")
        )
        for key, (image, caption) in zip(keys, PAIRS, strict=True):
            connection.execute(
                text("INSERT INTO shop.pairs VALUES (:k, :i, :c, :d)"),
                {"k": key, "i": image, "c": caption, "d": TODAY},
            )
    place = TablePlace("shop.pairs", "sku", "photo", "alt", "at")
    return in_database(engine, PostgresSource(engine, "pairs", place))


def csv_file(engine: Engine, folder: Path) -> Adapter:
    path = folder / "pairs.csv"
    path.write_bytes(as_csv(PAIRS))
    source = FileSource(engine, "pairs", LocalFiles(path), CsvRows("url", "caption"))
    return in_database(engine, source)


def objects(engine: Engine, store: ObjectStore, rows: object) -> Adapter:
    return in_database(engine, FileSource(engine, "pairs", store, rows))  # type: ignore[arg-type]


def in_database(engine: Engine, source: Source) -> Adapter:
    def let_time_pass() -> None:
        with transaction(engine) as connection:
            connection.execute(
                text(
                    "UPDATE clip.rejection SET next_attempt_at = now()"
                    " WHERE next_attempt_at IS NOT NULL"
                )
            )

    def metrics(run: Run) -> RunMetrics:
        with transaction(engine) as connection:
            stored = text("SELECT metrics FROM clip.run WHERE id = :id")
            return RunMetrics.of_json(connection.execute(stored, {"id": run.id}).scalar_one())

    return Adapter(source, PostgresRuns(engine), PostgresSink(engine), let_time_pass, metrics)


def as_csv(pairs: Pairs) -> bytes:
    lines = io.StringIO()
    csv.writer(lines).writerows([("id", "caption", "url"), *((1, c, i) for i, c in pairs)])
    return lines.getvalue().encode()


def as_json_lines(pairs: Pairs) -> bytes:
    return b"".join(
        json.dumps({"url": i, "caption": c, "extra": 1}).encode() + b"\n" for i, c in pairs
    )


def as_parquet(pairs: Pairs) -> bytes:
    columns = {
        "url": [i for i, _ in pairs],
        "n": [1] * len(pairs),
        "caption": [c for _, c in pairs],
    }
    body = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), body, row_group_size=7)
    return body.getvalue()


def as_tar(pairs: Pairs) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for image, caption in pairs:
            stem = image.removesuffix(".jpg")
            for name, content in ((image, b"pixels of " + image.encode()),
                                  (f"{stem}.txt", caption.encode())):  # fmt: skip
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


INTEGERS: Sequence[Key] = [7 * n - 40 for n in range(25)]
TEXTS: Sequence[Key] = sorted(
    f"{prefix}{n}" for n in range(5) for prefix in ("Z-", "a_", "é", "ﬀ", "😀")
)
UUIDS: Sequence[Key] = sorted(str(UUID(int=(n * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))
                              for n in range(25))  # fmt: skip


def parts(pairs: Pairs) -> Iterator[tuple[int, Pairs]]:
    """The pairs as three objects of unequal size."""
    for number, (start, stop) in enumerate(((0, 11), (11, 12), (12, len(pairs)))):
        yield number, pairs[start:stop]
