"""The workers of a fault run: who works on what, who is replaced, who sleeps until when."""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic

from tests.faults.nursery import Nursery
from tests.faults.watch import Progress
from tests.faults.workers import End

TASKS = 2
LISTEN_S = 0.004


@dataclass(eq=False)
class Member:
    """One living worker process: a task with a shard of its own, or the helper with none."""

    pid: int
    shard_id: int | None


@dataclass(frozen=True)
class Sleeper:
    """A stopped worker whose shard a twin has."""

    member: Member
    shard_id: int
    wake_at: float
    wake_after: tuple[int, int] | None
    """Wake it as soon as a later epoch has moved this offset."""

    def due(self, shards: Mapping[int, Progress]) -> bool:
        now = shards[self.shard_id]
        if now.done or monotonic() > self.wake_at:
            return True
        if self.wake_after is None:
            return False
        epoch, offset = self.wake_after
        return now.epoch > epoch and now.offset != offset


class Crew:
    """Keeps tasks for the queued shards and one helper at work, as a scheduler would.

    A task that ends before its shard is done is retried: it claims its shard by id. A stopped
    task is retried at once too, and is nobody's task any more when it wakes.
    """

    def __init__(self, nursery: Nursery, shard_ids: Iterable[int]) -> None:
        self._nursery = nursery
        self._queue = deque(shard_ids)
        self._living: list[Member] = []
        self._sleepers: list[Sleeper] = []
        self._orphans: set[int] = set()
        self.ends: Counter[int] = Counter()
        """How often workers ended with each exit code."""
        for _ in range(TASKS):
            self._next_task()
        self._start(None)

    @property
    def busy(self) -> bool:
        """Whether any worker lives, awake or asleep."""
        return bool(self._living)

    def awake(self) -> list[Member]:
        """Workers in the order of their starts."""
        asleep = {each.member.pid for each in self._sleepers}
        return [member for member in self._living if member.pid not in asleep]

    def signal(self, member: Member, number: signal.Signals) -> bool:
        """False when the worker has ended meanwhile."""
        return self._nursery.signal(member.pid, number)

    def tend(self) -> None:
        """Retry what ended too early, start what is queued."""
        for pid, code in self._nursery.ended(LISTEN_S):
            self.ends[code] += 1
            self._follow(next(each for each in self._living if each.pid == pid), code)

    def replace(
        self, victim: Member, shard_id: int, *, wake_at: float, wake_after: tuple[int, int] | None
    ) -> None:
        """Let a twin claim the shard of a stopped worker."""
        self._sleepers.append(Sleeper(victim, shard_id, wake_at, wake_after))
        if victim.shard_id is not None:
            self._orphans.add(victim.pid)
        self._start(shard_id)

    def wake(self, shards: Mapping[int, Progress]) -> None:
        """Continue every sleeper whose time has come."""
        for sleeper in [each for each in self._sleepers if each.due(shards)]:
            self._sleepers.remove(sleeper)
            self.signal(sleeper.member, signal.SIGCONT)

    def _follow(self, ended: Member, code: int) -> None:
        self._living.remove(ended)
        if ended.pid in self._orphans:
            self._orphans.remove(ended.pid)
        elif code != End.DONE:
            self._start(ended.shard_id)
        elif ended.shard_id is not None:
            self._next_task()

    def _next_task(self) -> None:
        tasks = sum(member.shard_id is not None for member in self._living) - len(self._orphans)
        if self._queue and tasks < TASKS:
            self._start(self._queue.popleft())

    def _start(self, shard_id: int | None) -> None:
        self._living.append(Member(self._nursery.start(shard_id), shard_id))
