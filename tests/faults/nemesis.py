"""Which faults come when, drawn from a seed, and how each of them is done."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic, sleep

from tests.faults.crew import Crew, Member
from tests.faults.server import RestartableServer
from tests.faults.watch import Watch


class Kind(StrEnum):
    """What can happen to a worker or to the server under it."""

    KILL = "kill -9"
    TERM = "sigterm"
    TWIN = "stopped, replaced, woken"
    BACKEND = "backend terminated"
    FAST = "server restart, fast"
    IMMEDIATE = "server restart, immediate"


SHARES = {
    Kind.KILL: 36,
    Kind.TERM: 14,
    Kind.TWIN: 25,
    Kind.BACKEND: 13,
    Kind.FAST: 6,
    Kind.IMMEDIATE: 6,
}
RESTARTS = {Kind.FAST: signal.SIGINT, Kind.IMMEDIATE: signal.SIGQUIT}
LATEST = 0.95
"""Of the records: what comes later might find nobody at work."""
MOST_DELAY_S = 0.02
MOST_SLEEP_S = 2.0
LONG_SLEEP_S = 22.0
"""Longer than the server lets a session idle in its transaction, and than a claim waits for it."""
LONG_SLEEPERS = 0.04
STRIKE_LIMIT_S = 10.0


@dataclass(frozen=True)
class Fault:
    """One fault of the schedule."""

    kind: Kind
    after: int
    """So many outcomes are committed before it comes."""
    delay_s: float
    sleep_s: float
    """A stopped worker is woken after its twin's first commit, or after so long."""
    aim: float
    """In [0, 1): which of the workers it hits."""

    @property
    def long_sleeper(self) -> bool:
        """Whether the stopped worker sleeps on though its twin commits."""
        return self.sleep_s == LONG_SLEEP_S


def schedule(seed: int, *, count: int, records: int, kinds: Sequence[Kind]) -> list[Fault]:
    """`count` faults over a run of so many records; each of the kinds at least once."""
    rng = random.Random(seed)
    shares = [SHARES[kind] for kind in kinds]
    drawn = [*kinds, *rng.choices(kinds, shares, k=max(count - len(kinds), 0))][:count]
    rng.shuffle(drawn)
    places = sorted(rng.randrange(1, int(LATEST * records)) for _ in drawn)
    return [_fault(rng, kind, after) for kind, after in zip(drawn, places, strict=True)]


def _fault(rng: random.Random, kind: Kind, after: int) -> Fault:
    long_sleeper = rng.random() < LONG_SLEEPERS
    sleep_s = rng.uniform(0.0, MOST_SLEEP_S)
    return Fault(
        kind=kind,
        after=after,
        delay_s=rng.uniform(0.0, MOST_DELAY_S),
        sleep_s=LONG_SLEEP_S if long_sleeper else sleep_s,
        aim=rng.random(),
    )


class Nemesis:
    """Does the faults of a schedule to a crew and its server, each as soon as its time has come."""

    def __init__(
        self, faults: Sequence[Fault], crew: Crew, server: RestartableServer, watch: Watch
    ) -> None:
        self._coming = list(reversed(faults))
        self._crew = crew
        self._server = server
        self._watch = watch
        self.done: list[Kind] = []

    @property
    def left(self) -> int:
        return len(self._coming)

    def proceed(self, committed: int) -> None:
        """Do the next fault if it is due and there is somebody to hit."""
        if not self._coming or committed < self._coming[-1].after:
            return
        fault = self._coming[-1]
        sleep(fault.delay_s)
        if self._strike(fault):
            self._coming.pop()
            self.done.append(fault.kind)

    def _strike(self, fault: Fault) -> bool:
        match fault.kind:
            case Kind.KILL:
                return self._signal(fault, signal.SIGKILL)
            case Kind.TERM:
                return self._signal(fault, signal.SIGTERM)
            case Kind.TWIN:
                return self._replace(fault)
            case Kind.BACKEND:
                return self._terminate_backend()
            case Kind.FAST | Kind.IMMEDIATE:
                self._server.restart(RESTARTS[fault.kind])
                self._watch.reconnect()
                return True

    def _targets(self, fault: Fault) -> list[Member]:
        """Everybody at work, beginning with whom the fault is aimed at."""
        awake = self._crew.awake()
        first = int(fault.aim * len(awake))
        return awake[first:] + awake[:first]

    def _signal(self, fault: Fault, number: signal.Signals) -> bool:
        return any(self._crew.signal(target, number) for target in self._targets(fault))

    def _replace(self, fault: Fault) -> bool:
        return any(self._replaced(target, fault) for target in self._targets(fault))

    def _replaced(self, victim: Member, fault: Fault) -> bool:
        if not self._crew.signal(victim, signal.SIGSTOP):
            return False
        shard_id = victim.shard_id or self._watch.shard_of(victim.pid)
        if shard_id is None:  # a helper between two shards
            self._crew.signal(victim, signal.SIGCONT)
            return False
        seen = self._watch.shards()[shard_id]
        self._crew.replace(
            victim,
            shard_id,
            wake_at=monotonic() + fault.sleep_s,
            wake_after=None if fault.long_sleeper else (seen.epoch, seen.offset),
        )
        return True

    def _terminate_backend(self) -> bool:
        """Workers connect for moments only, so this looks until it has caught one."""
        deadline = monotonic() + STRIKE_LIMIT_S
        while monotonic() < deadline:
            if self._watch.terminate_a_backend():
                return True
            self._crew.tend()
        return False
