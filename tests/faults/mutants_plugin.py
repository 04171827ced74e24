"""A pytest plugin that breaks the product in the way that the environment variable MUTANT names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from clip_scoring import stages
from clip_scoring.database import connection as database
from clip_scoring.database.connection import transaction
from clip_scoring.database.sink import PostgresSink
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Key, Outcome, Reason, Record, Rejection, Score, screen_caption
from clip_scoring.shards import Claim

FENCE = (
    """id = :shard_id AND epoch = :epoch AND "offset" = CAST(:old AS jsonb) AND state = 'open'"""
)
COUNTING = "scored = scored + :scored, rejected = rejected + :rejected,\n"
ORDER = 'ORDER BY record_key COLLATE "C"\n'


def edit(name: str, old: str, new: str) -> None:
    """Change the text of a named query; the text to change has to be there."""
    statement = str(database.query(name))
    if old not in statement:
        raise LookupError(f"query {name} does not contain {old!r}")
    database._queries()[name] = database.text(statement.replace(old, new))


def naive_commit() -> None:
    """The checkpoint moves whoever asks."""
    edit("move_checkpoint", FENCE, "id = :shard_id")


def state_guard() -> None:
    """The checkpoint moves for whoever finds the shard unfinished."""
    edit("move_checkpoint", FENCE, "id = :shard_id AND state = 'open'")


def counter_outside() -> None:
    """Outcomes are counted after the transaction that writes them."""
    edit("move_checkpoint", COUNTING, "")
    genuine = PostgresSink.commit

    def commit(
        sink: PostgresSink,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        measures: StageMetrics,
    ) -> Claim:
        advanced = genuine(sink, claim, offset, outcomes, measures)
        scored = sum(isinstance(outcome, Score) for _, outcome in outcomes)
        with transaction(sink._engine) as connection:
            connection.exec_driver_sql(
                "UPDATE clip.shard SET scored = scored + %s, rejected = rejected + %s "
                "WHERE id = %s",
                (scored, len(outcomes) - scored, claim.shard_id),
            )
        return advanced

    PostgresSink.commit = commit  # type: ignore[method-assign]


def unsorted_upsert() -> None:
    """Outcomes are written in the order they come."""
    edit("put_scores", ORDER, "")
    edit("put_rejections", ORDER, "")


def no_nul_screen() -> None:
    """Captions with NUL or lone surrogates pass."""

    def screen(caption: str) -> Rejection | None:
        found = screen_caption(caption)
        invalid = found is not None and found.reason is Reason.CAPTION_INVALID
        return None if invalid else found

    stages.screen_caption = screen  # type: ignore[attr-defined]


def none() -> None:
    """Nothing is broken."""


MUTANTS: dict[str, Callable[[], None]] = {
    mutate.__name__: mutate
    for mutate in (naive_commit, state_guard, counter_outside, unsorted_upsert, no_nul_screen, none)
}
if "MUTANT" in os.environ:
    MUTANTS[os.environ["MUTANT"]]()
