"""Which errors of a task are worth another try, and after how long.

Rejections of single records have a policy of their own, `clip_scoring.records.RETRIES`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from clip_scoring.errors import (
    DecoderBroken,
    DeviceLost,
    Fatal,
    Interrupted,
    Retryable,
    ShardLost,
)

SOON = timedelta(seconds=10)
"""A new process is all it takes; a task that was killed waits as long."""
LATER = timedelta(minutes=2)
"""Somebody else has to come back first: five tries outlast ten minutes."""

RETRY_POLICY = ExceptionRetryPolicy(
    [
        RetryRule(Fatal, RetryAction.FAIL, reason="no retry mends this: repair it, then clear"),
        RetryRule(
            [ShardLost, Interrupted, DeviceLost, DecoderBroken, MemoryError],
            retry_delay=SOON,
            reason="a new process goes on at the checkpoint",
        ),
        RetryRule(
            Retryable,
            retry_delay=LATER,
            reason="the database, store or hub is away, or weights change",
        ),
    ]
)
"""Never after an error that no retry mends; any other error waits the task's own delay."""
