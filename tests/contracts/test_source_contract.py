"""What every Source promises, on each adapter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clip_scoring.metrics import StageMetrics
from clip_scoring.planning import plan_run
from clip_scoring.records import Outcome, Reason, Record, Rejection, Score
from clip_scoring.runs import Rescore, Selection
from clip_scoring.shards import KeyRange, successor
from tests.contracts.adapters import PAIRS, TODAY, Adapter

GOOD = Score(0.5, caption_truncated=False)


def captions(records: list[Record]) -> list[str]:
    return [record.caption for record in records]


def everything(adapter: Adapter, **options: object) -> list[Record]:
    """All that is pending, read through one range over all of it, as a shard would."""
    selection = adapter.pending(**options)
    return [
        record
        for keys in adapter.source.ranges(selection, 1000, None)
        for record in adapter.source.read_pending(
            replace(selection, keys=KeyRange(keys.start, keys.stop)), 1000
        )
    ]


def whole(adapter: Adapter) -> Selection:
    """Every record of a source in which all are pending."""
    selection = adapter.pending()
    (keys,) = adapter.source.ranges(selection, 1000, None)
    return replace(selection, keys=KeyRange(keys.start, keys.stop))


def mixed(record: Record) -> Outcome:
    """Every third is scored, every third may pass later, every third is rejected for good."""
    number = int(record.caption.split()[1])
    return (GOOD, Rejection(Reason.TIMEOUT), Rejection(Reason.HTTP_404_410))[number % 3]


def test_all_records_are_pending_in_key_order(adapter: Adapter) -> None:
    records = everything(adapter)
    assert captions(records) == [caption for _, caption in PAIRS]
    assert [each.key for each in records] == sorted(each.key for each in records)
    assert len({each.key for each in records}) == len(PAIRS)
    assert all(
        each.image_uri.endswith(image) for each, (image, _) in zip(records, PAIRS, strict=True)
    )
    assert all(each.parse_error is None for each in records)


def test_the_count_is_that_of_the_records(adapter: Adapter) -> None:
    assert adapter.source.count_pending(adapter.pending()) == len(PAIRS)


@pytest.mark.parametrize("size", [1, 10, 25])
def test_ranges_tile_the_pending_records(adapter: Adapter, size: int) -> None:
    selection = adapter.pending()
    ranges = list(adapter.source.ranges(selection, size, None))
    assert [each.planned for each in ranges[:-1]] == [size] * (len(ranges) - 1)
    assert sum(each.planned for each in ranges) == len(PAIRS)
    assert [each.stop for each in ranges[:-1]] == [each.start for each in ranges[1:]]
    for each in ranges:
        part = replace(selection, keys=KeyRange(each.start, each.stop))
        assert adapter.source.count_pending(part) == each.planned
        assert len(adapter.source.read_pending(part, 1000)) == each.planned


@pytest.mark.parametrize("limit", [1, 24, 26])
def test_at_most_limit_records_are_covered(adapter: Adapter, limit: int) -> None:
    ranges = list(adapter.source.ranges(adapter.pending(), 10, limit))
    assert sum(each.planned for each in ranges) == min(limit, len(PAIRS))


@pytest.mark.parametrize("size", [1, 7])
def test_reading_on_behind_the_last_key_meets_every_record_once(
    adapter: Adapter, size: int
) -> None:
    selection = whole(adapter)
    met: list[Record] = []
    while batch := adapter.source.read_pending(selection, size):
        met += batch
        selection = replace(selection, keys=KeyRange(successor(batch[-1].key), selection.keys.stop))
    assert captions(met) == [caption for _, caption in PAIRS]


def test_reading_twice_gives_the_same_records(adapter: Adapter) -> None:
    selection = whole(adapter)
    first = adapter.source.read_pending(selection, 12)
    assert adapter.source.read_pending(selection, 12) == first
    assert adapter.source.read_pending(selection, 1000)[:12] == first


def test_an_empty_range_has_no_records(adapter: Adapter) -> None:
    selection = whole(adapter)
    start = selection.keys.start
    nothing = replace(selection, keys=KeyRange(start, start))
    assert adapter.source.read_pending(nothing, 10) == []
    assert adapter.source.count_pending(nothing) == 0


def test_what_has_a_lasting_outcome_is_not_pending(adapter: Adapter) -> None:
    adapter.score_all(mixed, Rescore.MISSING)
    assert everything(adapter) == []
    assert adapter.source.count_pending(adapter.pending()) == 0
    assert list(adapter.source.ranges(adapter.pending(), 10, None)) == []


def test_a_rejection_that_may_pass_is_pending_when_it_is_due(adapter: Adapter) -> None:
    adapter.score_all(mixed, Rescore.MISSING)
    adapter.let_time_pass()
    assert captions(everything(adapter)) == [c for n, (_, c) in enumerate(PAIRS) if n % 3 == 1]


def test_rescore_rejected_takes_every_rejection_and_no_score(adapter: Adapter) -> None:
    adapter.score_all(mixed, Rescore.MISSING)
    assert captions(everything(adapter, rescore=Rescore.REJECTED)) == [
        c for n, (_, c) in enumerate(PAIRS) if n % 3
    ]


def test_rescore_all_takes_everything_again(adapter: Adapter) -> None:
    adapter.score_all(mixed, Rescore.MISSING)
    assert len(everything(adapter, rescore=Rescore.ALL)) == len(PAIRS)
    assert len(adapter.score_all(mixed, Rescore.ALL)) == len(PAIRS)


def test_what_a_run_committed_is_not_pending_for_the_same_run(adapter: Adapter) -> None:
    for rescore in Rescore:
        request = adapter.request(rescore=rescore)
        shards = plan_run(request, source=adapter.source, runs=adapter.runs).shards
        for shard in shards:
            run, claim = adapter.sink.claim(shard.shard_id, device="none")
            part = run.selection(KeyRange(claim.start, claim.stop))
            rows = [(each, mixed(each)) for each in adapter.source.read_pending(part, 1000)]
            adapter.sink.commit(claim, claim.stop, rows, StageMetrics())
            assert adapter.source.read_pending(part, 1000) == []


def test_nothing_after_the_window_is_pending(adapter: Adapter) -> None:
    before = TODAY.replace(year=TODAY.year - 1)
    assert adapter.source.count_pending(adapter.pending(day=before)) == 0


def test_what_reading_moved_is_told_once(adapter: Adapter) -> None:
    everything(adapter)
    told_first = adapter.source.drain_metrics().counts
    assert all(count >= 0 for count in told_first.values())
    assert not any(adapter.source.drain_metrics().counts.values())


def test_records_are_found_by_the_names_of_their_outcomes(adapter: Adapter) -> None:
    records = adapter.score_all(lambda _: GOOD, Rescore.MISSING)
    names = [record.record_key for record in records[3:24:7]]
    found = adapter.source.find([*names, "nowhere", "-1"], longest=1000)
    assert {name: captions([each])[0] for name, each in found.items()} == {
        record.record_key: record.caption for record in records[3:24:7]
    }
    assert all(each.record_key == name for name, each in found.items())


def test_what_is_found_is_cut_to_a_length(adapter: Adapter) -> None:
    name = adapter.score_all(lambda _: GOOD, Rescore.MISSING)[7].record_key
    (found,) = adapter.source.find([name], longest=7).values()
    assert found.caption == "caption"
    assert len(found.image_uri) == 7
