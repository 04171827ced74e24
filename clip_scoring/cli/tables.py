"""`clip-scoring status`: runs, shards and rejections as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

Rows = Sequence[Any]
"""Rows of the queries by the names of their columns."""


def runs_table(rows: Rows) -> Iterator[str]:
    """One line per run."""
    head = ("state", "source", "trigger", "planned", "held", "scored", "rejected", "shards",
            "started (UTC)", "took", "run key")  # fmt: skip
    yield from _table(
        head,
        [
            (
                "stalled" if row.stalled else row.state, row.source, row.trigger, row.planned,
                row.held, row.scored, row.rejected, f"{row.done}/{row.shards}",
                _instant(row.started_at), _took(row), row.run_key,
            )
            for row in rows
        ],
    )  # fmt: skip


def shards_table(rows: Rows) -> Iterator[str]:
    """One line per shard."""
    head = ("shard", "state", "range", "offset", "epoch", "try", "planned", "scored", "rejected",
            "worker")  # fmt: skip
    yield from _table(
        head,
        [
            (
                row.number, row.state, f"[{row.start_key}, {row.stop_key})", row.offset, row.epoch,
                row.tries, row.planned, row.scored, row.rejected, _worker(row),
            )
            for row in rows
        ],
    )  # fmt: skip


def rejections_table(rows: Rows) -> Iterator[str]:
    """One line per source and reason; `never` waits for changed input or `--rescore rejected`."""
    head = ("source", "reason", "records", "due now", "due later", "next (UTC)", "attempts")
    yield from _table(
        head,
        [
            (
                row.source, row.reason, row.n, row.due, row.waiting,
                _instant(row.next_due) if row.next_due else ("now" if row.due else "never"),
                row.most_attempts,
            )
            for row in rows
        ],
    )  # fmt: skip


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    cells = [list(head), *([str(each) for each in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _took(row: Any) -> str:
    return "" if row.finished_at is None else str(row.finished_at - row.started_at).split(".")[0]


def _worker(row: Any) -> str:
    return f"{row.worker}{'' if row.leased else ' (silent)'}" if row.worker else ""
