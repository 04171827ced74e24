"""Rules that are known to be wrong, to show that the figures of a fault run can be red."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import TextClause, text

from clip_scoring.database import connection as database
from clip_scoring.database import sink as postgres_sink


class Rule(StrEnum):
    """What guards a commit; all but `fenced` lose or double something sooner or later."""

    FENCED = "fenced"
    NAIVE = "naive"
    STATE_GUARD = "state-guard"
    ASYNC_COMMIT = "async-commit"
    """Fenced, but the server answers COMMIT before the transaction is in the log."""


CONDITIONS = {
    Rule.NAIVE: "id = :shard_id",
    Rule.STATE_GUARD: "id = :shard_id AND state = 'open'",
}
_UNASKED = ("'synchronous_commit', 'on'", "'synchronous_commit', 'off'")


def weaken(rule: Rule) -> None:
    """Let every PostgresSink of this process move checkpoints by that rule from now on."""
    if rule in CONDITIONS:
        weakened = _checkpoint_where(CONDITIONS[rule])

        def query(name: str) -> TextClause:
            return weakened if name == "move_checkpoint" else database.query(name)

        postgres_sink.query = query  # type: ignore[attr-defined]
    if rule is Rule.ASYNC_COMMIT:
        asked = str(database._LIMITS)  # no commit asks for itself
        database._LIMITS = text(asked.replace(*_UNASKED))


def _checkpoint_where(condition: str) -> TextClause:
    guarded = str(database.query("move_checkpoint"))
    statement, where, _ = guarded.rpartition("WHERE ")
    if not statement or "WHERE" in statement:
        raise ValueError(f"move_checkpoint has not exactly one WHERE: {guarded}")
    return text(f"{statement}{where}{condition}")
