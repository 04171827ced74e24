"""How many requests a host gets at once, and when it is given up on for a while."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason, Rejection

_MOST_HOSTS = 10_000
UNREACHED = frozenset({Reason.DNS_FAILED, Reason.CONNECT_FAILED, Reason.TIMEOUT})
"""Reasons that say something about the host, not about one image."""


@dataclass
class _Host:
    slots: Semaphore
    users: int = 0
    failures: int = 0
    last: Rejection | None = None
    open_until: float | None = None
    half_open: bool = False


class CircuitBreaker:
    """Turns at hosts: so many at once, none while a host is given up on, then one to try it."""

    def __init__(self, policy: HttpPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._slots = Semaphore(policy.connections)
        self._hosts: dict[str, _Host] = {}
        self.given_up = 0
        """How often a host was given up on so far."""

    @asynccontextmanager
    async def acquire(self, name: str) -> AsyncIterator[None]:
        """Wait for a slot of the host and one of all; raises ImageRejected while it is open."""
        host = self._host(name)
        host.users += 1
        try:
            # The host's slot first: who waits for a slow host must not hold up the others.
            async with host.slots, self._slots:
                trial = self._admit(host)
                try:
                    yield
                finally:
                    host.half_open = host.half_open and not trial
        finally:
            host.users -= 1
            self._forget_if_idle(name)

    def record(self, name: str, outcome: Rejection | None) -> None:
        """Note how an image of the host ended; None is its body."""
        host = self._host(name)
        if outcome is None or outcome.reason not in UNREACHED:
            host.failures, host.open_until = 0, None
        else:
            self._note_failure(host, outcome)
        self._forget_if_idle(name)

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            if len(self._hosts) >= _MOST_HOSTS:
                self._forget_oldest()
            self._hosts[name] = _Host(Semaphore(self._policy.per_host))
        return self._hosts[name]

    def _note_failure(self, host: _Host, outcome: Rejection) -> None:
        host.failures += 1
        host.last = outcome
        if host.failures >= self._policy.host_failures:
            self.given_up += host.open_until is None
            host.open_until = self._clock() + self._policy.breaker_reset_seconds

    def _admit(self, host: _Host) -> bool:
        """True for the one request that tries a host again."""
        if host.open_until is None or host.last is None:
            return False
        if host.half_open or self._clock() < host.open_until:
            detail = f"not tried: {host.failures} images of this host in a row failed like this"
            raise ImageRejected(host.last.reason, detail)
        host.half_open = True
        return True

    def _forget_oldest(self) -> None:
        for name, host in self._hosts.items():
            if host.users == 0:
                del self._hosts[name]
                return

    def _forget_if_idle(self, name: str) -> None:
        host = self._hosts.get(name)
        if host is not None and host.users == 0 and host.failures == 0:
            del self._hosts[name]
