"""Pairs as the pages show them: what is known of a record, and whether it has a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clip_scoring.errors import ClipScoringError
from clip_scoring.nightly.pages import Pages
from clip_scoring.nightly.thumbnails import has_thumbnail
from clip_scoring.overview import RunDetail
from clip_scoring.quality import Ranked
from clip_scoring.records import Record


@dataclass(frozen=True, slots=True)
class Pair:
    """One record with the similarity that the run gave it and the one that it has now."""

    key: str
    similarity: float | None
    now: float | None
    record: Record | None
    missing: str = ""
    """Why there is no record, in words."""

    @property
    def pictured(self) -> bool:
        """Whether a picture may be asked for: nothing is fetched from the web for a page."""
        return self.record is not None and has_thumbnail(self.record)


def pairs_of_run(library: Pages, run: RunDetail, ranked: Ranked) -> list[Pair]:
    """The pairs of these keys; rows of files are looked up one by one, on their own page."""
    keys = [key for key, _ in ranked]
    now = library.reports.scores(run, keys)
    records: Mapping[str, Record] = {}
    missing = "in a file: open the pair to read it"
    if library.finds_many(run.source):
        records, missing = library.find(run.source, keys), "the record is gone"
    return [
        Pair(key, similarity, now.get(key), records.get(key), missing) for key, similarity in ranked
    ]


def shown(library: Pages, source: str, key: str) -> Pair:
    """One record as it is now."""
    try:
        record = library.find(source, [key]).get(key)
    except ClipScoringError as broken:
        return Pair(key, None, None, None, str(broken))
    return Pair(key, None, None, record, "there is no such record now")
