"""Keeps the claim on a shard alive while its worker is busy, however long a batch takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from clip_scoring.errors import Retryable
from clip_scoring.ports import Sink
from clip_scoring.shards import Claim

RENEW_S = 60.0
"""A small part of the lease, so that a database that is away for minutes costs no claim."""


@contextmanager
def kept_alive(sink: Sink, claim: Claim) -> Iterator[None]:
    """Renew the lease again and again until the block ends; the epoch still decides who writes.

    A worker that is stopped, or dead, renews nothing. A renewal that fails is left to the next
    one: the worker learns from its commit what became of the claim.
    """
    ended = Event()

    def renew() -> None:
        while not ended.wait(RENEW_S):
            with suppress(Retryable):
                sink.renew(claim)

    thread = Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
