"""`clip-scoring status`: runs, shards and rejections as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from clip_scoring.display import redacted_cell
from clip_scoring.overview import RejectionBacklog, RunProgress, ShardDetail


def runs_table(runs: Sequence[RunProgress]) -> Iterator[str]:
    """One line per run."""
    head = ("state", "source", "trigger", "planned", "reserved", "scored", "rejected", "shards",
            "started (UTC)", "took", "run key")  # fmt: skip
    yield from _table(
        head,
        [
            (
                "stalled" if run.stalled else run.state, run.source, run.trigger, run.planned,
                run.reserved, run.scored, run.rejected, f"{run.done}/{run.shards}",
                _instant(run.started_at), _took(run), redacted_cell(run.run_key),
            )
            for run in runs
        ],
    )  # fmt: skip


def shards_table(shards: Sequence[ShardDetail]) -> Iterator[str]:
    """One line per shard."""
    head = ("shard", "state", "range", "offset", "epoch", "try", "planned", "scored", "rejected",
            "worker")  # fmt: skip
    yield from _table(
        head,
        [
            (
                shard.number, shard.state, _keys(shard),
                redacted_cell(str(shard.offset)), shard.epoch, shard.tries, shard.planned,
                shard.scored, shard.rejected, _worker(shard),
            )
            for shard in shards
        ],
    )  # fmt: skip


def rejections_table(rejections: Sequence[RejectionBacklog]) -> Iterator[str]:
    """One line per source and reason; `never` waits for changed input or `--rescore rejected`."""
    head = ("source", "reason", "records", "due now", "due later", "next (UTC)", "attempts")
    yield from _table(
        head,
        [
            (
                backlog.source, backlog.reason, backlog.records, backlog.due, backlog.waiting,
                _next_due(backlog), backlog.most_attempts,
            )
            for backlog in rejections
        ],
    )  # fmt: skip


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _took(run: RunProgress) -> str:
    return "" if run.finished_at is None else str(run.finished_at - run.started_at).split(".")[0]


def _keys(shard: ShardDetail) -> str:
    start, stop = (redacted_cell(str(key)) for key in (shard.start_key, shard.stop_key))
    return f"[{start}, {stop})"


def _worker(shard: ShardDetail) -> str:
    return f"{shard.worker}{'' if shard.leased else ' (silent)'}" if shard.worker else ""


def _next_due(backlog: RejectionBacklog) -> str:
    if backlog.next_due:
        return _instant(backlog.next_due)
    return "now" if backlog.due else "never"
