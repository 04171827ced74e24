"""Key ranges, shards and claims: who may write which range, and how far it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from clip_scoring.records import Key


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Half-open `[start, stop)`; None is an open end."""

    start: Key | None
    stop: Key | None


@dataclass(frozen=True, slots=True)
class PlannedRange:
    """A shard to be: its range and its number of pending records at planning."""

    start: Key
    stop: Key
    planned: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Progress of one shard: every key below `offset` is committed; only `epoch` may write."""

    offset: Key
    epoch: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write one shard, until somebody claims it again."""

    shard_id: int
    run_id: int
    number: int
    start: Key
    stop: Key
    checkpoint: Checkpoint
    tries: int = 1
    """Claims since the offset last moved, this one included."""

    def __post_init__(self) -> None:
        if not _within(self.checkpoint.offset, self.start, self.stop):
            raise ValueError(
                f"shard {self.number}: offset {self.checkpoint.offset!r} outside "
                f"[{self.start!r}, {self.stop!r}]"
            )

    @property
    def done(self) -> bool:
        """True when nothing is left to commit."""
        return self.checkpoint.offset == self.stop

    def advanced(self, offset: Key) -> Claim:
        """The same claim after a commit up to `offset`."""
        return replace(self, checkpoint=replace(self.checkpoint, offset=offset), tries=1)


def _within(offset: Key, start: Key, stop: Key) -> bool:
    return start <= offset <= stop  # type: ignore[operator]  # keys of one source are of one type


def successor(key: Key) -> Key:
    """The smallest key above `key` in its order.

    Text is ordered by code points and holds no NUL, so appending U+0001 leaves no room between.
    """
    return key + 1 if isinstance(key, int) else key + "\x01"


def merged(ranges: Iterable[KeyRange]) -> list[KeyRange]:
    """The same keys in ranges that neither touch nor overlap; all have both ends."""
    joined: list[KeyRange] = []
    for piece in sorted(ranges, key=lambda keys: keys.start):  # type: ignore[arg-type,return-value]
        if joined and piece.start <= joined[-1].stop:  # type: ignore[operator]
            stop = max(joined[-1].stop, piece.stop)  # type: ignore[type-var]
            joined[-1] = KeyRange(joined[-1].start, stop)
        else:
            joined.append(piece)
    return joined


def free_ranges(reserved: Iterable[KeyRange]) -> Iterator[KeyRange]:
    """The parts of the whole key space that the reserved ranges leave over.

    `reserved` is ordered by start and its ranges have both ends; they may touch and overlap.
    """
    at: Key | None = None
    for taken in reserved:
        if at is None or taken.start > at:  # type: ignore[operator]
            yield KeyRange(at, taken.start)
        if at is None or taken.stop > at:  # type: ignore[operator]
            at = taken.stop
    yield KeyRange(at, None)


_MOST_SHARDS = 1000
"""Airflow maps a task over 1,024 at most."""


def shard_size(backlog: int, *, wanted: int, batch_size: int, ranges: int = 1) -> int:
    """Records per shard: at least `wanted`, on the batch grid, for at most 1,000 shards.

    The backlog lies in so many `ranges`, each cut by itself, whose last shards may be small.
    """
    needed = max(wanted, -(-backlog // max(_MOST_SHARDS + 1 - ranges, 1)), 1)
    return -(-needed // batch_size) * batch_size
