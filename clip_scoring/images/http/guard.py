"""The only way to a socket: names are looked up here, and every address is judged before use."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from clip_scoring.images.http.networks import may_connect
from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.threads import Threads

_THREADS = 64
_MOST_NAMES = 10_000
Resolve = Callable[[str, int], list[str]]
Clock = Callable[[], float]


class AddressForbidden(OSError):
    """An address that may not be connected to; an OSError, so that the client hands it on."""


class NameUnknown(OSError):
    """The host name could not be resolved."""


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, by the system's resolver."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


@dataclass(frozen=True, slots=True)
class _Answer:
    addresses: list[str]
    failure: str
    until: float


class Names:
    """Addresses by name, remembered for a while; lookups of one name at the same time are one."""

    def __init__(self, policy: HttpPolicy, resolve: Resolve, clock: Clock) -> None:
        self._policy = policy
        self._resolve = resolve
        self._clock = clock
        self._known: dict[str, asyncio.Task[_Answer]] = {}
        self._threads = Threads(_THREADS, "resolve-name")
        self.lookups = 0
        """Asked of the system so far."""

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name, at least one; raises NameUnknown."""
        try:
            async with asyncio.timeout(self._policy.connect_seconds):
                # One that gives up must not end the lookup for the others.
                answer = await asyncio.shield(self._lookup(host, port))
        except TimeoutError as late:
            raise NameUnknown("no answer about the host name in time") from late
        if answer.failure:
            raise NameUnknown(answer.failure)
        return answer.addresses

    async def close(self) -> None:
        """Forget everything and end the threads."""
        for lookup in self._known.values():
            lookup.cancel()
        await asyncio.gather(*self._known.values(), return_exceptions=True)
        self._known.clear()
        self._threads.close()

    def _lookup(self, host: str, port: int) -> asyncio.Task[_Answer]:
        name = host.lower()
        known = self._known.get(name)
        if known is not None and not (known.done() and known.result().until <= self._clock()):
            return known
        self._known.pop(name, None)
        if len(self._known) >= _MOST_NAMES:
            self._forget_oldest()
        self.lookups += 1
        self._known[name] = asyncio.create_task(self._ask(host, port))
        return self._known[name]

    def _forget_oldest(self) -> None:
        for host, lookup in self._known.items():
            if lookup.done():
                del self._known[host]
                return

    async def _ask(self, host: str, port: int) -> _Answer:
        try:
            addresses = await self._threads.run(partial(self._resolve, host, port))
        except (OSError, UnicodeError):
            addresses = []
        if addresses:
            return _Answer(addresses, "", self._clock() + self._policy.name_seconds)
        until = self._clock() + self._policy.unknown_name_seconds
        return _Answer([], "the host name is unknown", until)


class Guard(AbstractResolver):
    """Resolver and source of sockets for one client; both refuse what the policy does not allow.

    The resolver alone would not do, since clients do not ask it about addresses in figures; the
    sockets alone would not do, since a name with one bad address is to be refused whole.
    """

    def __init__(self, policy: HttpPolicy, names: Names) -> None:
        self._policy = policy
        self._names = names
        self._proxy = URL(policy.egress_proxy).raw_host if policy.egress_proxy else None
        self._vouched = {self._proxy} if self._proxy else set()
        self.opened = 0
        """Sockets so far."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # the client's signature
    ) -> list[ResolveResult]:
        """Addresses of a host, all of which may be connected to; raises OSError."""
        addresses = await self._names.addresses(host, port)
        if self._is_vouched_for(host):
            self._vouched.update(addresses)
        elif self._proxy or not all(self._is_permitted(answer) for answer in addresses):
            raise AddressForbidden
        return [_result(host, address, port) for address in addresses]

    async def close(self) -> None:
        """Nothing is held here."""

    def open_socket(self, target: AddrInfoType) -> socket.socket:
        """A socket for exactly this address; raises AddressForbidden."""
        family, kind, protocol, _, address = target
        literal = str(address[0])
        if literal not in self._vouched and (self._proxy or not self._is_permitted(literal)):
            raise AddressForbidden
        self.opened += 1
        return socket.socket(family, kind, protocol)

    def _is_vouched_for(self, host: str) -> bool:
        if self._proxy:
            return host == self._proxy
        return host.lower().rstrip(".") in self._policy.allowed_hosts

    def _is_permitted(self, address: str) -> bool:
        try:
            return may_connect(address, self._policy.allowed_networks)
        except ValueError:  # a resolver that answers with something else than an address
            return False


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=family,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
