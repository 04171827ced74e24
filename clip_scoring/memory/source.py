"""A source in memory, over a dictionary of records, with the promises of the real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from clip_scoring.memory.runs import InMemoryRunStore
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Key, Record, Score
from clip_scoring.runs import Rescore, Selection, Window
from clip_scoring.shards import PlannedRange, successor


@dataclass
class MemorySource:
    """Source over a dictionary of records and their event times."""

    name: str
    book: InMemoryRunStore
    records: dict[Key, tuple[Record, datetime]] = field(default_factory=dict)

    def refresh(self, window: Window) -> None:
        """The dictionary is the stock."""

    def count_pending(self, selection: Selection) -> int:
        """How many records of the selection are pending."""
        return len(self._pending(selection))

    def ranges(self, selection: Selection, size: int, limit: int | None) -> Iterator[PlannedRange]:
        """Cut the pending records into consecutive ranges of `size`."""
        keys = [record.key for record in self._pending(selection)[:limit]]
        starts = keys[::size]
        stops = [*starts[1:], *(successor(key) for key in keys[-1:])]
        for at, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            yield PlannedRange(start, stop, len(keys[at * size : (at + 1) * size]))

    def read_pending(self, selection: Selection, limit: int) -> list[Record]:
        """The first `limit` pending records of the selection in key order."""
        return self._pending(selection)[:limit]

    def find(self, record_keys: Sequence[str], *, longest: int) -> Mapping[str, Record]:
        """The records of these names as they are now, without those that are gone."""
        return {
            record.record_key: replace(
                record, image_uri=record.image_uri[:longest], caption=record.caption[:longest]
            )
            for record, _ in self.records.values()
            if record.record_key in set(record_keys)
        }

    def drain_metrics(self) -> StageMetrics:
        """Nothing moves."""
        return StageMetrics()

    def _pending(self, selection: Selection) -> list[Record]:
        chosen = [
            record
            for record, event_time in self.records.values()
            if _within(selection, record.key, event_time) and not self._settled(record, selection)
        ]
        return sorted(chosen, key=lambda record: record.key)

    def _settled(self, record: Record, selection: Selection) -> bool:
        kept = self.book.outcomes.get((self.name, selection.fingerprint_id, record.key))
        if kept is None:
            return False
        since_planning = kept.written_at >= selection.as_of
        if selection.rescore is Rescore.ALL:
            return since_planning
        if kept.input_md5 != record.input_md5:
            return False
        if isinstance(kept.outcome, Score):
            return True
        if selection.rescore is Rescore.REJECTED:
            return since_planning
        return kept.next_attempt_at is None or kept.next_attempt_at > selection.as_of


def _within(selection: Selection, key: Key, event_time: datetime) -> bool:
    window, keys = selection.window, selection.keys
    after_start = window.start is None or window.start <= event_time
    above = keys.start is None or keys.start <= key  # type: ignore[operator]
    below = keys.stop is None or key < keys.stop  # type: ignore[operator]
    return after_start and event_time < window.stop and above and below
