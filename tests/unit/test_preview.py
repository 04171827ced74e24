"""A preview says what planning then does, whoever holds records meanwhile, and leaves no trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clip_scoring.memory.runs import InMemoryRunStore
from clip_scoring.memory.source import MemorySource
from clip_scoring.models.fake import FAKE_FINGERPRINT
from clip_scoring.planning import plan_run, preview
from clip_scoring.records import Record
from clip_scoring.runs import RunRequest, Trigger, Window, WindowKind

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def source() -> MemorySource:
    """Thirty records of noon and an empty book."""
    now = NOON + timedelta(days=1)
    found = MemorySource("records", InMemoryRunStore(lambda: now))
    for key in range(1, 31):
        found.records[key] = (Record(key, f"{key}.png", "a caption"), NOON)
    return found


def request(run_key: str, **options: int) -> RunRequest:
    window = Window.of_day(NOON.date(), WindowKind.DAY)
    sizes = {"batch_size": 2, "shard_size": 4, **options}
    return RunRequest(run_key, "records", FAKE_FINGERPRINT, window, Trigger.CLI, **sizes)


@pytest.mark.parametrize("reserved", [0, 9])
@pytest.mark.parametrize("limit", [None, 1, 13, 100])
def test_planning_does_what_the_preview_said(
    source: MemorySource, reserved: int, limit: int | None
) -> None:
    book = source.book
    if reserved:
        plan_run(request("before", limit=reserved), source=source, runs=book)
    asked = request("asked", limit=limit) if limit else request("asked")
    said = preview(asked, source=source, runs=book)
    plan = plan_run(asked, source=source, runs=book)
    assert (said.planned, said.reserved, said.shards) == (
        plan.planned,
        plan.reserved,
        len(plan.shards),
    )
    assert said.planned == min(30 - reserved, limit or 30)
    assert said.reserved == reserved
    assert max(each.planned for each in plan.shards) <= said.shard_size == 4


def test_previews_leave_no_run_behind(source: MemorySource) -> None:
    for _ in range(2):
        assert preview(request("asked"), source=source, runs=source.book).reserved == 0
    assert plan_run(request("asked"), source=source, runs=source.book).run_id == 1


def test_a_preview_can_be_read_and_sent() -> None:
    source = MemorySource("records", InMemoryRunStore(lambda: NOON))
    said = preview(request("asked"), source=source, runs=source.book)
    digest = FAKE_FINGERPRINT.digest[:12]
    assert str(said) == (
        "0 records in 0 shards of up to 4 would be planned, 0 reserved by other runs; "
        f"from 2026-01-01 00:00 to 2026-01-02 00:00 UTC, fingerprint {digest}"
    )
    assert said.parts() == {
        "planned": 0, "reserved": 0, "shards": 0, "shard_size": 4, "fingerprint": digest,
        "window": {"start": "2026-01-01T00:00:00+00:00", "stop": "2026-01-02T00:00:00+00:00"},
    }  # fmt: skip
