"""A network for tests: only loopback is really connected, and every attempt is written down."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from unicodedata import normalize
from unittest.mock import patch
from urllib.parse import unquote

from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Rejection

LIMIT = 100_000


@dataclass
class Network:
    """Which addresses sockets tried to reach, and which of them they did."""

    reachable: Callable[[str], bool] = lambda address: ip_address(address).is_loopback
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    """Answers by name, one after the other; the last one stays."""
    attempts: list[str] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)

    @contextmanager
    def watched(self, *, names: bool = True) -> Iterator[Network]:
        """Every socket of this process, and every lookup unless told, comes by here."""
        connect, system = socket.socket.connect, socket.getaddrinfo

        def recorded(sock: socket.socket, address: Any) -> None:
            if sock.family in {socket.AF_INET, socket.AF_INET6}:
                self.attempts.append(address[0])
                if not self.reachable(address[0]):
                    raise ConnectionRefusedError(111, "tests stay on this machine")
            connect(sock, address)

        with (
            patch.object(socket.socket, "connect", recorded),
            patch.object(socket, "getaddrinfo", self.getaddrinfo if names else system),
        ):
            yield self

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, *_: Any, **__: Any
    ) -> list[Any]:
        """Answers like the system for figures in every spelling, and is kinder to odd ones."""
        self.lookups.append(host if isinstance(host, str) else host.decode())
        found = self._found(self.lookups[-1])
        return [_info(each, int(port or 0)) for each in found]

    def _found(self, host: str) -> list[str]:
        name = normalize("NFKC", unquote(host)).replace("。", ".").lower().rstrip(".")
        if answers := self.names.get(name):
            return answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            if ":" in name:
                return [str(ip_address(name.partition("%")[0]))]
            return [socket.inet_ntoa(socket.inet_aton(name))]
        except (OSError, ValueError) as unknown:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from unknown


def _info(address: str, port: int) -> Any:
    if ":" in address:
        target: Any = (address, port, 0, 0)
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", target)
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


async def instantly(seconds: float) -> None:
    """Sleeps not at all, but lets the others run."""
    await asyncio.sleep(0)


async def body(fetcher: HttpFetcher, uri: str, *, limit: int = LIMIT) -> bytes:
    """One fetch with a budget of its own."""
    async with ByteBudget(1 << 30).share() as share:
        return await fetcher.fetch(uri, share, limit=limit)


async def rejection(fetcher: HttpFetcher, uri: str, *, limit: int = LIMIT) -> Rejection:
    """Why a fetch is refused."""
    try:
        found = await body(fetcher, uri, limit=limit)
    except ImageRejected as refused:
        return refused.rejection
    raise AssertionError(f"{uri} was fetched: {found[:50]!r}")


def run(fetcher: HttpFetcher, work: Callable[[], Awaitable[Any]]) -> Any:
    """The result of some work with a fetcher that is closed afterwards."""

    async def worked() -> Any:
        try:
            return await work()
        finally:
            await fetcher.close()

    return asyncio.run(worked())


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@dataclass
class Server:
    """Answers each request by a function, and notes what it was asked."""

    host: str
    port: int = 0
    accepts: int = 0
    requests: list[bytes] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@asynccontextmanager
async def serving(
    answer: Answer, host: str = "127.0.0.1", ssl: Any = None
) -> AsyncIterator[Server]:
    """A server on the loopback interface; `answer` gets the head of each request."""
    server = Server(host)
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.accepts += 1
        try:
            while not writer.is_closing():
                server.requests.append(await reader.readuntil(b"\r\n\r\n"))
                server.busy += 1
                server.most_busy = max(server.most_busy, server.busy)
                try:
                    await answer(reader, writer, server.requests[-1])
                finally:
                    server.busy -= 1
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            """Clients hang up when they have seen enough."""
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(converse(reader, writer)))

    running = await asyncio.start_server(accept, host, 0, ssl=ssl)
    server.port = running.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        running.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await running.wait_closed()


def reply(status: int = 200, body: bytes = b"image", *headers: str) -> bytes:
    """The bytes of a reply."""
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def answering(*replies: bytes) -> Answer:
    """Gives these replies in turn; the last one stays."""
    left = list(replies)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return answer
