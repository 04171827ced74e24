"""Outcomes and checkpoint in PostgreSQL: one transaction, fenced by epoch and offset."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from time import sleep
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row

from clip_scoring.database.connection import query, transaction
from clip_scoring.database.runs import LEASE, planning_scope, run_of
from clip_scoring.display import redacted_cell
from clip_scoring.errors import DatabaseBusy, DatabaseUnreachable, ShardLost
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Key, Outcome, Record, Rejection, Score
from clip_scoring.runs import Run
from clip_scoring.shards import Checkpoint, Claim

log = logging.getLogger(__name__)

Done = TypeVar("Done")

_TRANSACTION_TRIES = 5


class PostgresSink:
    """Claims shards and commits their batches; every method may be repeated after a crash.

    `worker` names the process for people and for `clip-scoring run`; it guards nothing.
    """

    def __init__(self, engine: Engine, *, worker: str = "unnamed") -> None:
        self._engine = engine
        self._worker = worker
        self._runs: dict[int, Run] = {}

    def claim(self, shard_id: int, *, device: str) -> tuple[Run, Claim]:
        """Take the shard with a new epoch; every older claim on it is void from here on.

        Raises ShardLost when the shard is unknown, or when another live run works on its range.
        """
        claim = _repeated(lambda _: self._claim("claim_shard", device, shard_id=shard_id))
        if claim is None:
            raise ShardLost(f"shard id {shard_id} does not exist")
        return self._runs[claim.run_id], claim

    def claim_free(self, run: Run, *, device: str) -> Claim | None:
        """Take an unfinished shard of the run that nobody works on, if there is one."""
        return _repeated(lambda _: self._claim("claim_free_shard", device, run_id=run.id))

    def renew(self, claim: Claim) -> None:
        """Keep others from taking the shard; without effect when the claim is void."""
        owned = {"shard_id": claim.shard_id, "epoch": claim.checkpoint.epoch, "lease": LEASE}
        with transaction(self._engine) as connection:
            connection.execute(query("renew_lease"), owned)

    def release(self, claim: Claim) -> None:
        """Let others take the shard at once; without effect when the claim is void."""
        owned = {"shard_id": claim.shard_id, "epoch": claim.checkpoint.epoch}
        with transaction(self._engine) as connection:
            connection.execute(query("release_shard"), owned)

    def commit(
        self,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        measures: StageMetrics,
    ) -> Claim:
        """Store outcomes and move the checkpoint to `offset`, both or neither.

        A reply to COMMIT that was lost is resolved by reading the checkpoint. Raises ShardLost,
        having written nothing, when the claim is void.
        """

        def write(backoffs: int) -> None:
            so_far = measures + StageMetrics(counts={"backoffs": backoffs})
            try:
                with transaction(self._engine) as connection:
                    self._write(connection, claim, offset, outcomes, so_far)
            except DatabaseUnreachable:
                if not self._was_committed(claim, offset):
                    raise

        _repeated(write)
        log.info(
            "run %d shard %d epoch %d: offset %s, %d outcomes",
            claim.run_id, claim.number, claim.checkpoint.epoch, redacted_cell(str(offset)),
            len(outcomes),
        )  # fmt: skip
        return claim.advanced(offset)

    def _claim(self, statement: str, device: str, **which: int) -> Claim | None:
        values = {**which, "lease": LEASE, "worker": self._worker, "device": device}
        with transaction(self._engine) as connection:
            row = connection.execute(query(statement), values).one_or_none()
            if row is None:
                return None
            claim = _claim_of(row)
            owner = {"shard_id": claim.shard_id}
            run_key, state = connection.execute(query("run_of_shard"), owner).one()
            run = run_of(connection.execute(query("find_run"), {"run_key": run_key}).one())
            if not claim.done:
                if state != "running":
                    # It comes back to life: no planning may be under way that does not see it.
                    scope = planning_scope(run.source, run.fingerprint)
                    connection.execute(query("lock_planning"), {"scope": scope})
                _require_sole_run(connection, claim)
        self._runs[run.id] = run
        log.info(
            "run %d shard %d epoch %d: claimed at %s, try %d at this offset",
            run.id, claim.number, claim.checkpoint.epoch,
            redacted_cell(str(claim.checkpoint.offset)), claim.tries,
        )  # fmt: skip
        return claim

    def _write(
        self,
        connection: Connection,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        measures: StageMetrics,
    ) -> None:
        known = connection.execute(query("measures"), {"shard_id": claim.shard_id}).scalar()
        moved = connection.execute(
            query("move_checkpoint"),
            {
                "shard_id": claim.shard_id,
                "epoch": claim.checkpoint.epoch,
                "old": json.dumps(claim.checkpoint.offset),
                "new": json.dumps(offset),
                "scored": sum(isinstance(outcome, Score) for _, outcome in outcomes),
                "rejected": sum(isinstance(outcome, Rejection) for _, outcome in outcomes),
                "measures": json.dumps((StageMetrics.of_json(known or {}) + measures).as_json()),
                "lease": LEASE,
            },
        )
        if moved.rowcount != 1:
            raise ShardLost(
                f"shard {claim.number}: epoch {claim.checkpoint.epoch} is not the current claim "
                "any more, or its offset has moved"
            )
        _put(connection, self._runs[claim.run_id], claim, outcomes)

    def _was_committed(self, claim: Claim, offset: Key) -> bool:
        """Whether a transaction whose end we did not see took effect; the claim still fences."""
        with transaction(self._engine) as connection:
            row = connection.execute(query("checkpoint"), {"shard_id": claim.shard_id}).one()
        return bool(row.epoch == claim.checkpoint.epoch and row.offset == offset)


def _repeated(attempt: Callable[[int], Done]) -> Done:
    """Run a whole transaction again when the server rolled it back for another's sake."""
    for backoffs in range(_TRANSACTION_TRIES - 1):
        try:
            return attempt(backoffs)
        except DatabaseBusy:
            sleep(random.uniform(0.0, 0.05 * 2**backoffs))
    return attempt(_TRANSACTION_TRIES - 1)


def _require_sole_run(connection: Connection, claim: Claim) -> None:
    rivals = connection.execute(query("rival_shards"), {"shard_id": claim.shard_id}).all()
    if keys := [row.run_key for row in rivals if row.alive]:
        raise ShardLost(f"shard {claim.number}: its records are reserved by run {keys[0]}")
    outlived = sorted(row.id for row in rivals)
    connection.execute(query("void_outlived"), {"shard_ids": outlived})
    connection.execute(query("reopen_run"), {"run_id": claim.run_id})


def _claim_of(row: Row[Any]) -> Claim:
    return Claim(
        shard_id=row.id,
        run_id=row.run_id,
        number=row.number,
        start=row.start_key,
        stop=row.stop_key,
        checkpoint=Checkpoint(row.offset, row.epoch),
        tries=row.tries,
    )


def _put(
    connection: Connection,
    run: Run,
    claim: Claim,
    outcomes: Sequence[tuple[Record, Outcome]],
) -> None:
    scores = [(record, outcome) for record, outcome in outcomes if isinstance(outcome, Score)]
    rejections = [
        (record, rejection) for record, rejection in outcomes if isinstance(rejection, Rejection)
    ]
    owner = {"source": run.source, "fingerprint_id": run.fingerprint_id}
    origin = {**owner, "run_id": run.id, "shard_id": claim.shard_id}
    if scores:
        columns = _score_columns(scores)
        connection.execute(query("put_scores"), {**origin, **columns})
        connection.execute(query("drop_rejections"), {**owner, "keys": columns["keys"]})
    if rejections:
        columns = _rejection_columns(rejections)
        connection.execute(query("put_rejections"), {**origin, **columns})
        connection.execute(query("drop_scores"), {**owner, "keys": columns["keys"]})


def _score_columns(scores: Sequence[tuple[Record, Score]]) -> dict[str, str]:
    return {
        "keys": array_literal(record.record_key for record, _ in scores),
        "similarities": array_literal(score.similarity for _, score in scores),
        "truncated": array_literal(score.caption_truncated for _, score in scores),
        "input_md5s": array_literal(record.input_md5 for record, _ in scores),
    }


def _rejection_columns(rejections: Sequence[tuple[Record, Rejection]]) -> dict[str, str]:
    retries = [rejection.retry for _, rejection in rejections]
    return {
        "keys": array_literal(record.record_key for record, _ in rejections),
        "reasons": array_literal(str(rejection.reason) for _, rejection in rejections),
        "details": array_literal(storable(rejection.detail) for _, rejection in rejections),
        "first_waits": array_literal(
            None if retry is None else retry.first_wait_s for retry in retries
        ),
        "most_attempts": array_literal(
            None if retry is None else retry.attempts for retry in retries
        ),
        "input_md5s": array_literal(record.input_md5 for record, _ in rejections),
    }


def array_literal(values: Iterable[str | float | bool | None]) -> str:
    """PostgreSQL's text form of an array, which driver and server read far faster than a list."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | float | bool | None) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "NULL" if value is None else repr(value)


def storable(text: str) -> str:
    """Text that PostgreSQL can hold: it knows neither NUL nor lone surrogates."""
    return text.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()
