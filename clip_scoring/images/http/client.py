"""Images over HTTP(S): the address that is really connected is the one that was checked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from aiohttp import (
    ClientError,
    ClientHandlerType,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)
from aiohttp.client_exceptions import ClientConnectorError
from yarl import URL

from clip_scoring.images.budget import Share
from clip_scoring.images.http.circuit_breaker import CircuitBreaker
from clip_scoring.images.http.deadline import Deadline, MinimumRate
from clip_scoring.images.http.guard import Clock, Guard, Names, Resolve, resolve
from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.http.replies import (
    Disconnected,
    TransientFailure,
    body_failure,
    check_status,
    failure,
)
from clip_scoring.images.http.urls import check_url, host_name, parse_url, redirected
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason

__all__ = ["HttpFetcher", "HttpPolicy"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "clip-scoring"}
_BUFFER = 64 * 1024
_LINE = 8190
_MOST_HEADERS = 128
_DEFAULTS = HttpPolicy()
Sleep = Callable[[float], Awaitable[object]]


class HttpFetcher:
    """Fetches bodies over kept connections, from one event loop; ignores proxy variables."""

    def __init__(
        self,
        policy: HttpPolicy = _DEFAULTS,
        *,
        resolve: Resolve = resolve,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
        jitter: Clock = random.random,
    ) -> None:
        self._policy = policy
        self._clock, self._now, self._sleep, self._jitter = clock, now, sleep, jitter
        self._names = Names(policy, resolve, clock)
        self._guard = Guard(policy, self._names)
        self._breaker = CircuitBreaker(policy, clock)
        self._opened: ClientSession | None = None
        self._retries = 0

    async def fetch(self, uri: str, share: Share, *, limit: int) -> bytes:
        """The body behind `uri`, at most `limit` bytes; raises ImageRejected with the reason."""
        url, deadline = parse_url(uri), Deadline(self._policy)
        for _ in range(self._policy.max_redirects + 1):
            check_url(url, self._policy)
            reply = await self._fetch_hop(url, _Body(share, limit, deadline))
            if isinstance(reply, bytes):
                return reply
            url = reply
        raise ImageRejected(Reason.TOO_MANY_REDIRECTS, f"more than {self._policy.max_redirects}")

    def counts(self) -> dict[str, int]:
        """Totals so far."""
        return {
            "fetch_retries": self._retries,
            "dns_lookups": self._names.lookups,
            "connections": self._guard.opened,
            "hosts_given_up": self._breaker.given_up,
        }

    async def close(self) -> None:
        """Close every connection and end the threads that look up names."""
        if self._opened is not None:
            await self._opened.close()
        await self._names.close()

    async def _fetch_hop(self, url: URL, body: _Body) -> bytes | URL:
        """One hop, tried again while its failure may pass and there is time."""
        host = f"{host_name(url)}:{url.port}"
        tried = 0
        while True:
            tried += 1
            async with self._breaker.acquire(host):
                try:
                    reply = await self._hop(url, body)
                except TransientFailure as failed:
                    transient = failed
                except ImageRejected as refused:
                    self._breaker.record(host, refused.rejection)
                    raise
                else:
                    self._breaker.record(host, None)
                    return reply
                wait = body.deadline.next_wait(tried, transient.wait, self._jitter)
                if wait is None:
                    self._breaker.record(host, transient.refused.rejection)
                    raise transient.refused from transient
            body.share.give_back()
            self._retries += 1
            await self._sleep(wait)

    async def _hop(self, url: URL, body: _Body) -> bytes | URL:
        """The body, or where a redirect leads."""
        try:
            async with body.deadline.running():
                return await self._ask(url, body)
        except TimeoutError as late:
            detail = f"not done within {self._policy.total_seconds:g} s"
            raise ImageRejected(Reason.TIMEOUT, detail) from late

    async def _ask(self, url: URL, body: _Body) -> bytes | URL:
        try:
            reply = await self._session().get(url, allow_redirects=False)
        except (ClientError, OSError, Disconnected) as failed:
            raise failure(failed) from failed
        async with reply:
            location = reply.headers.get("Location")
            if reply.status in _REDIRECTS and location:
                return redirected(url, location)
            check_status(reply, self._now())
            try:
                return await body.read(reply, MinimumRate(self._policy, self._clock))
            except (ClientError, OSError) as failed:
                raise body_failure(failed) from failed

    def _session(self) -> ClientSession:
        """Made at the first request, for it belongs to the event loop that is running then."""
        if self._opened is None:
            policy = self._policy
            self._opened = ClientSession(
                connector=TCPConnector(
                    resolver=self._guard,
                    socket_factory=self._guard.open_socket,
                    use_dns_cache=False,
                    limit=policy.connections,
                ),
                timeout=ClientTimeout(
                    connect=2 * policy.connect_seconds,
                    sock_connect=policy.connect_seconds,
                    sock_read=policy.read_seconds,
                ),
                headers=_HEADERS,
                cookie_jar=DummyCookieJar(),
                proxy=policy.egress_proxy,
                trust_env=False,
                auto_decompress=False,
                read_bufsize=_BUFFER,
                max_line_size=_LINE,
                max_field_size=_LINE,
                max_headers=_MOST_HEADERS,
                middlewares=(_send_once,),
            )
        return self._opened


class _Body:
    """Receives the body of one image, within its limits."""

    def __init__(self, share: Share, limit: int, deadline: Deadline) -> None:
        self.share = share
        self.deadline = deadline
        self._limit = limit

    async def read(self, reply: ClientResponse, minimum_rate: MinimumRate) -> bytes:
        """All bytes of the reply; their number is counted while they come."""
        if (reply.content_length or 0) > self._limit:
            raise ImageRejected(Reason.IMAGE_TOO_LARGE, f"announced, more than {self._limit} bytes")
        blocks = []
        while block := await reply.content.readany():
            minimum_rate.count(len(block))
            if minimum_rate.size > self._limit:
                raise ImageRejected(Reason.IMAGE_TOO_LARGE, f"more than {self._limit} bytes")
            await minimum_rate.paused(self.deadline.paused(self.share.grow(len(block))))
            blocks.append(block)
        return b"".join(blocks)


async def _send_once(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """Requests are repeated here only, where it is counted; the client would do so unseen."""
    try:
        return await send(request)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError) as broken:
        raise Disconnected from broken
