"""A small world around the library: records in PostgreSQL, images that need no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime

import numpy as np
from sqlalchemy import Engine, text

from clip_scoring.database.connection import transaction
from clip_scoring.database.runs import PostgresRuns
from clip_scoring.database.sink import PostgresSink
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.fake import FAKE_FINGERPRINT, FakeScorer
from clip_scoring.planning import finish_run, plan_run
from clip_scoring.ports import DecodedImage, LoadedImages
from clip_scoring.records import Reason, Record, Rejection
from clip_scoring.runs import Plan, RunRequest, RunSummary, Trigger, Window, WindowKind
from clip_scoring.scoring import ShardResult, Worker, score_shard
from clip_scoring.settings.registrations import TablePlace
from clip_scoring.sources.table import PostgresSource

DAY = date(2026, 1, 1)
NOTHING = StageMetrics()
MIDDAY = datetime(2026, 1, 1, 12, tzinfo=UTC)


class SyntheticLoader:
    """Pixels made from the key; URIs that name a reason are rejected with it."""

    def load(self, records: Sequence[Record]) -> LoadedImages:
        return LoadedImages([self._image(each) for each in records], StageMetrics())

    def _image(self, record: Record) -> DecodedImage | Rejection:
        if record.image_uri in set(Reason):
            return Rejection(Reason(record.image_uri), "as asked")
        pixels = np.full((2, 2, 3), len(record.image_uri), np.uint8)
        return DecodedImage(pixels, pixels.tobytes())


@dataclass
class World:
    """What a test does to the database, in the product's words."""

    engine: Engine
    place: TablePlace = field(default_factory=TablePlace)
    scorer: FakeScorer = field(default_factory=FakeScorer)
    loader: SyntheticLoader = field(default_factory=SyntheticLoader)

    @property
    def source(self) -> PostgresSource:
        return PostgresSource(self.engine, "records", self.place)

    @property
    def runs(self) -> PostgresRuns:
        return PostgresRuns(self.engine)

    def sql(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        with transaction(self.engine) as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def add(self, records: Mapping[int, tuple[str, str]], created_at: datetime = MIDDAY) -> None:
        for key, (image_uri, caption) in records.items():
            self.sql(
                "INSERT INTO clip.record (key, image_uri, caption, created_at) "
                "VALUES (:k, :i, :c, :t)",
                k=key, i=image_uri, c=caption, t=created_at,
            )  # fmt: skip

    def add_many(self, count: int, *, first: int = 1, created_at: datetime = MIDDAY) -> None:
        self.sql(
            "INSERT INTO clip.record (key, image_uri, caption, created_at) "
            "SELECT g, 'image '||g, 'caption '||g, :t FROM generate_series(:a, :b) g",
            a=first, b=first + count - 1, t=created_at,
        )  # fmt: skip

    def request(self, run_key: str, *, day: date = DAY, **options: object) -> RunRequest:
        settings = {"batch_size": 10, "shard_size": 20, "window": WindowKind.UP_TO_DAY, **options}
        window = Window.of_day(day, settings.pop("window"))
        return RunRequest(run_key, "records", FAKE_FINGERPRINT, window, Trigger.CLI, **settings)

    def plan(self, run_key: str, **options: object) -> Plan:
        return plan_run(self.request(run_key, **options), source=self.source, runs=self.runs)

    def score(self, shard_id: int, **options: object) -> ShardResult:
        """As a worker does; `options` are parts of it, or what score_shard takes beside it."""
        usual = Worker(self.source, self.loader, self.scorer, PostgresSink(self.engine))
        parts = {part.name for part in fields(Worker)} & options.keys()
        worker = replace(usual, **{name: options.pop(name) for name in parts})
        run, claim = worker.sink.claim(shard_id, device="none")
        return score_shard(run, claim, worker=worker, **options)

    def judge(self, run_key: str, **options: object) -> RunSummary:
        return finish_run(self.runs.get(run_key), source=self.source, runs=self.runs, **options)

    def run(self, run_key: str, **options: object) -> RunSummary:
        for shard in self.plan(run_key, **options).shards:
            self.score(shard.shard_id)
        return self.judge(run_key)

    def watch_offsets(self) -> None:
        """Write every change of a shard into `offset_history`, by trigger."""
        self.sql(
            "CREATE TABLE offset_history (n serial, shard_id bigint, old_offset jsonb, "
            "new_offset jsonb, epoch int, scored bigint, rejected bigint)"
        )
        self.sql(
            "CREATE FUNCTION note_offset() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO offset_history "
            "(shard_id, old_offset, new_offset, epoch, scored, rejected) VALUES "
            '(NEW.id, OLD."offset", NEW."offset", NEW.epoch, NEW.scored - OLD.scored, '
            "NEW.rejected - OLD.rejected); RETURN NEW; END $$"
        )
        self.sql(
            "CREATE TRIGGER note_offset AFTER UPDATE ON clip.shard FOR EACH ROW "
            "EXECUTE FUNCTION note_offset()"
        )

    def check_invariants(self) -> None:
        """Conservation as SQL: counters, offset history, one outcome per record.

        A later run that scores records again takes their rows over, so the counters of the runs
        before it may exceed their rows, never fall short of them.
        """
        counted = self.sql(
            "SELECT s.scored, s.rejected, s.run_id = (SELECT max(id) FROM clip.run),"
            " (SELECT count(*) FROM clip.score WHERE shard_id = s.id),"
            " (SELECT count(*) FROM clip.rejection WHERE shard_id = s.id) FROM clip.shard s"
        )
        for scored, rejected, latest, score_rows, rejection_rows in counted:
            assert (scored, rejected) == (score_rows, rejection_rows) or (
                not latest and scored >= score_rows and rejected >= rejection_rows
            )
        assert (
            self.sql(
                "SELECT record_key FROM clip.score JOIN clip.rejection "
                "USING (source, record_key, fingerprint_id)"
            )
            == []
        )
        if self.sql("SELECT to_regclass('offset_history')") == [(None,)]:
            return
        steps = self.sql(
            "SELECT shard_id, old_offset, new_offset, epoch, "
            "lag(new_offset) OVER w, lag(epoch) OVER w FROM offset_history "
            "WINDOW w AS (PARTITION BY shard_id ORDER BY n) ORDER BY n"
        )
        for shard_id, old, new, epoch, before, epoch_before in steps:
            where = f"shard {shard_id}: {before} {old} {new}"
            assert old <= new, where
            assert before is None or before == old, where
            assert epoch_before is None or epoch >= epoch_before, where
