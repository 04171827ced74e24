"""Outcomes and checkpoint in PostgreSQL: one transaction, fenced by epoch and offset."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import DBAPIError

from clip_scoring.errors import DatabaseUnreachable, ShardLost
from clip_scoring.records import Key, Outcome, Record, Rejection, Score
from clip_scoring.runs import Run
from clip_scoring.shards import Checkpoint, Claim
from clip_scoring.stores.database import query, transaction
from clip_scoring.stores.postgres_runs import LEASE, run_of

log = logging.getLogger(__name__)

_TRANSACTION_TRIES = 5
_REPEATABLE_SQLSTATES = frozenset({"40001", "40P01", "55P03"})
"""serialization_failure, deadlock_detected, lock_not_available: all rolled back whole."""


class PostgresSink:
    """Claims shards and commits their batches; every method may be repeated after a crash."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs: dict[int, Run] = {}

    def claim(self, shard_id: int) -> tuple[Run, Claim]:
        """Take the shard with a new epoch; every older claim on it is void from here on.

        Raises ShardLost when the shard is unknown, or when another live run works on its range.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(
                query("claim_shard"), {"shard_id": shard_id, "lease": LEASE}
            ).one_or_none()
            if row is None:
                raise ShardLost(f"shard id {shard_id} does not exist")
            claim = _claim_of(row)
            if not claim.done:
                _require_sole_run(connection, claim)
            run_key = connection.execute(query("run_of_shard"), {"shard_id": shard_id}).one()[0]
            run = run_of(connection.execute(query("find_run"), {"run_key": run_key}).one())
        self._runs[claim.run_id] = run
        log.info("shard claimed", extra={"shard": claim.number, "epoch": claim.checkpoint.epoch})
        return run, claim

    def commit(
        self,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        stage_seconds: Mapping[str, float],
    ) -> Claim:
        """Store outcomes and move the checkpoint to `offset`, both or neither.

        A reply to COMMIT that was lost is resolved by reading the checkpoint. Raises ShardLost,
        having written nothing, when the claim is void.
        """
        for tries_left in reversed(range(_TRANSACTION_TRIES)):
            try:
                with transaction(self._engine) as connection:
                    self._write(connection, claim, offset, outcomes, stage_seconds)
            except DatabaseUnreachable:
                if not self._was_committed(claim, offset):
                    raise
            except DBAPIError as failed:
                if not tries_left or _sqlstate(failed) not in _REPEATABLE_SQLSTATES:
                    raise
                continue
            break
        return claim.advanced(offset)

    def _write(
        self,
        connection: Connection,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        stage_seconds: Mapping[str, float],
    ) -> None:
        known = connection.execute(query("stage_seconds"), {"shard_id": claim.shard_id}).scalar()
        moved = connection.execute(
            query("move_checkpoint"),
            {
                "shard_id": claim.shard_id,
                "epoch": claim.checkpoint.epoch,
                "old": json.dumps(claim.checkpoint.offset),
                "new": json.dumps(offset),
                "scored": sum(isinstance(outcome, Score) for _, outcome in outcomes),
                "rejected": sum(isinstance(outcome, Rejection) for _, outcome in outcomes),
                "stage_seconds": json.dumps(_added(known or {}, stage_seconds)),
                "lease": LEASE,
            },
        )
        if moved.rowcount != 1:
            raise ShardLost(
                f"shard {claim.number}: epoch {claim.checkpoint.epoch} at offset "
                f"{claim.checkpoint.offset!r} is not the current claim any more"
            )
        _put(connection, self._runs[claim.run_id], claim, outcomes)

    def _was_committed(self, claim: Claim, offset: Key) -> bool:
        """Whether a transaction whose end we did not see took effect; the claim still fences."""
        with transaction(self._engine) as connection:
            row = connection.execute(query("checkpoint"), {"shard_id": claim.shard_id}).one()
        return bool(row.epoch == claim.checkpoint.epoch and row.offset == offset)


def _require_sole_run(connection: Connection, claim: Claim) -> None:
    others = connection.execute(query("overlapping_runs"), {"shard_id": claim.shard_id})
    if keys := [row.run_key for row in others]:
        raise ShardLost(f"shard {claim.number}: its records are held by run {keys[0]}")
    connection.execute(query("reopen_run"), {"run_id": claim.run_id})


def _claim_of(row: Row[Any]) -> Claim:
    return Claim(
        shard_id=row.id,
        run_id=row.run_id,
        number=row.number,
        start=row.start_key,
        stop=row.stop_key,
        checkpoint=Checkpoint(row.offset, row.epoch),
    )


def _put(
    connection: Connection,
    run: Run,
    claim: Claim,
    outcomes: Sequence[tuple[Record, Outcome]],
) -> None:
    scores = [(record, outcome) for record, outcome in outcomes if isinstance(outcome, Score)]
    rejections = [(record, each) for record, each in outcomes if isinstance(each, Rejection)]
    owner = {"source": run.source, "fingerprint_id": run.fingerprint_id}
    origin = {**owner, "run_id": run.id, "shard_id": claim.shard_id}
    if scores:
        columns = {
            "keys": [str(record.key) for record, _ in scores],
            "similarities": [score.similarity for _, score in scores],
            "truncated": [score.caption_truncated for _, score in scores],
            "input_md5s": [record.input_md5 for record, _ in scores],
        }
        connection.execute(query("put_scores"), {**origin, **columns})
        connection.execute(query("drop_rejections"), {**owner, "keys": columns["keys"]})
    if rejections:
        columns = {
            "keys": [str(record.key) for record, _ in rejections],
            "reasons": [str(each.reason) for _, each in rejections],
            "details": [each.detail.replace("\x00", "␀") for _, each in rejections],
            "retry_seconds": [each.retry_seconds for _, each in rejections],
            "input_md5s": [record.input_md5 for record, _ in rejections],
        }
        connection.execute(query("put_rejections"), {**origin, **columns})
        connection.execute(query("drop_scores"), {**owner, "keys": columns["keys"]})


def _added(known: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    stages = {*known, *more}
    return {name: round(known.get(name, 0.0) + more.get(name, 0.0), 6) for name in sorted(stages)}


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "pgcode", None)
