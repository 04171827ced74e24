"""Servers that misbehave in every way: each costs one record, a bounded time, and little memory."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from clip_scoring.images.fetcher import MAX_BYTES
from clip_scoring.images.http.client import HttpFetcher, HttpPolicy
from clip_scoring.images.http.networks import parse_networks
from clip_scoring.records import Reason, Rejection
from tests.hostile.network import (
    Answer,
    Network,
    answering,
    body,
    instantly,
    rejection,
    reply,
    run,
    serving,
)

TOTAL = 1.0
MEMORY = 64 * 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(50_000_000))
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@pytest.fixture(autouse=True)
def network() -> Iterator[Network]:
    with Network().watched() as watched:
        yield watched


def policy(port: int, **settings: float) -> HttpPolicy:
    limits = {"connect_seconds": 0.5, "read_seconds": 0.4, "total_seconds": TOTAL,
              "rate_after_seconds": 0.3, **settings}  # fmt: skip
    return HttpPolicy(parse_networks(["127.0.0.0/8"]), (port,), **limits)  # type: ignore[arg-type]


def end(answer: Answer) -> tuple[Rejection | bytes, float, int]:
    """How a fetch ends, after how many seconds, with how many bytes of memory at most."""

    async def work() -> Rejection | bytes:
        async with serving(answer) as server:
            fetcher = HttpFetcher(policy(server.port), sleep=instantly, jitter=lambda: 0.0)
            try:
                return await _either(fetcher, server.url + "/")
            finally:
                await fetcher.close()

    tracemalloc.start()
    started = time.monotonic()
    try:
        return asyncio.run(work()), time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def _either(fetcher: HttpFetcher, uri: str) -> Rejection | bytes:
    try:
        return await rejection(fetcher, uri, limit=MAX_BYTES)
    except AssertionError:
        return await body(fetcher, uri, limit=MAX_BYTES)


def sends(*parts: bytes, every: float = 0.0, hang_up: bool = True) -> Answer:
    """Sends the parts one by one; every so many seconds, where given."""

    async def answer(_: Reader, writer: Writer, __: bytes) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)
        if hang_up:
            writer.close()
        else:
            await asyncio.sleep(60)

    return answer


def drips(head: bytes, tail: bytes = b"x", every: float = 0.02) -> Answer:
    """Sends the head at once, then the tail again and again."""

    async def answer(_: Reader, writer: Writer, __: bytes) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(tail)
            await writer.drain()
            await asyncio.sleep(every)

    return answer


def resets(head: bytes) -> Answer:
    """Sends the head, then RST."""

    async def answer(_: Reader, writer: Writer, __: bytes) -> None:
        writer.write(head)
        await writer.drain()
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN = {Reason.BODY_TRUNCATED, Reason.CONNECT_FAILED}
"""Which of the two depends on whether the head came alone."""
BEHAVIOURS: dict[str, tuple[Answer, set[Reason | bytes] | set[Reason] | bytes]] = {
    "nothing is said": (sends(hang_up=False), {Reason.TIMEOUT}),
    "headers come late": (sends(b"", reply(), every=3), {Reason.TIMEOUT}),
    "headers drip": (drips(OK + b"X-Long: "), {Reason.TIMEOUT}),
    "header lines drip": (drips(OK, b"A: b\r\n"), {Reason.TIMEOUT, Reason.CONNECT_FAILED}),
    "the status line stops": (sends(b"HTTP/1.1 2", hang_up=False), {Reason.TIMEOUT}),
    "the body drips": (drips(OK + b"Content-Length: 9999\r\n\r\n"), {Reason.TIMEOUT}),
    "chunks drip": (drips(CHUNKED, b"1\r\nx\r\n"), {Reason.TIMEOUT}),
    "the body stops": (
        sends(OK + b"Content-Length: 9999\r\n\r\nabc", hang_up=False), {Reason.TIMEOUT}
    ),
    "the body is slow but steady": (
        drips(OK + b"Content-Length: 99999\r\n\r\n", b"x" * 100), {Reason.TIMEOUT}
    ),
    "the body is short": (
        sends(OK + b"Content-Length: 99\r\n\r\nabc"), {Reason.BODY_TRUNCATED}
    ),
    "the body is longer than said": (
        sends(OK + b"Content-Length: 3\r\n\r\nabcdef"), {b"abc", Reason.CONNECT_FAILED}
    ),
    "the length is huge": (
        sends(OK + b"Content-Length: 99999999999999\r\n\r\nabc"), {Reason.IMAGE_TOO_LARGE}
    ),
    "the length is negative": (
        sends(OK + b"Content-Length: -1\r\n\r\nabc"), {Reason.CONNECT_FAILED}
    ),
    "the length is no number": (
        sends(OK + b"Content-Length: ten\r\n\r\nabc"), {Reason.CONNECT_FAILED}
    ),
    "two lengths differ": (
        sends(OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"), {Reason.CONNECT_FAILED}
    ),
    "length and chunks": (
        sends(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        {Reason.CONNECT_FAILED},
    ),
    "chunks are no chunks": (sends(CHUNKED + b"zz\r\nabc\r\n"), BROKEN),
    "a chunk is negative": (sends(CHUNKED + b"-3\r\nabc\r\n"), BROKEN),
    "chunks end early": (sends(CHUNKED + b"3\r\nabc\r\n"), {Reason.BODY_TRUNCATED}),
    "a chunk has a long extension": (
        sends(CHUNKED + b"3;" + b"x" * 100_000 + b"\r\nabc\r\n0\r\n\r\n"),
        b"abc",
    ),
    "a bomb in gzip": (sends(reply(200, BOMB, "Content-Encoding: gzip")),
                       {Reason.UNSUPPORTED_ENCODING}),
    "gzip that does not say so": (sends(reply(200, BOMB)), BOMB),
    "transfer in gzip": (
        sends(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), b"abc"
    ),
    "redirect without end": (
        answering(reply(302, b"", "Location: /")), {Reason.TOO_MANY_REDIRECTS}
    ),
    "redirects that hang up": (
        sends(reply(302, b"", "Location: /")), {Reason.TOO_MANY_REDIRECTS}
    ),
    "reset at once": (resets(b""), {Reason.CONNECT_FAILED}),
    "reset in the headers": (resets(OK + b"X: "), {Reason.CONNECT_FAILED}),
    "reset in the body": (
        resets(OK + b"Content-Length: 99\r\n\r\nabc"), {Reason.BODY_TRUNCATED}
    ),
    "closed at once": (sends(), {Reason.CONNECT_FAILED}),
    "a header of a megabyte": (
        sends(OK + b"A: " + b"x" * 1_000_000 + b"\r\n\r\n"), {Reason.CONNECT_FAILED}
    ),
    "fifty thousand headers": (
        sends(OK + b"A: b\r\n" * 50_000 + b"\r\n"), {Reason.CONNECT_FAILED}
    ),
    "headers without end": (drips(OK, b"A: b\r\n" * 1000, every=0), {Reason.CONNECT_FAILED}),
    "a body without end": (
        drips(b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 65_536, every=0), {Reason.IMAGE_TOO_LARGE}
    ),
    "chunks without end": (
        drips(CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n", every=0), {Reason.IMAGE_TOO_LARGE}
    ),
    "another type": (sends(reply(200, b"<html>", "Content-Type: text/html")), b"<html>"),
    "no status line": (sends(b"<html>hello</html>"), {Reason.CONNECT_FAILED}),
    "another protocol": (sends(b"SSH-2.0-x\r\n"), {Reason.CONNECT_FAILED}),
    "status 99999": (sends(b"HTTP/1.1 99999 x\r\n\r\n"), {Reason.CONNECT_FAILED}),
    "provisional replies without end": (
        drips(b"", b"HTTP/1.1 103 x\r\n\r\n" * 100, every=0), {Reason.TIMEOUT}
    ),
    "switching protocols": (
        sends(b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        {Reason.HTTP_4XX, Reason.CONNECT_FAILED},
    ),
    "204": (sends(b"HTTP/1.1 204 x\r\n\r\n"), {Reason.HTTP_4XX}),
    "206": (sends(reply(206, b"abc", "Content-Range: bytes 0-2/9")), {Reason.HTTP_4XX}),
    "304": (sends(b"HTTP/1.1 304 x\r\n\r\n"), {Reason.HTTP_4XX}),
    "416": (sends(reply(416, b"")), {Reason.HTTP_4XX}),
    "503 for hours": (sends(reply(503, b"", "Retry-After: 9999")), {Reason.HTTP_5XX}),
    "a redirect with bytes that are no text": (
        sends(OK.replace(b"200", b"302") + b"Location: /\xff\xfe\r\nContent-Length: 0\r\n\r\n"),
        {Reason.URI_INVALID, Reason.TOO_MANY_REDIRECTS},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_server_that_misbehaves_costs_one_record_and_a_bounded_time(name: str) -> None:
    answer, expected = BEHAVIOURS[name]
    found, seconds, memory = end(answer)
    ended = found.reason if isinstance(found, Rejection) else found
    assert ended in ({expected} if isinstance(expected, bytes) else expected)
    assert seconds < TOTAL + 1
    assert memory < MEMORY


def test_a_kept_connection_that_was_closed_costs_one_attempt() -> None:
    asked = []

    async def answer(_: Reader, writer: Writer, head: bytes) -> None:
        asked.append(head)
        if len(asked) == 2:
            writer.close()
        else:
            writer.write(reply())

    async def work() -> None:
        async with serving(answer) as server:
            fetcher = HttpFetcher(policy(server.port), sleep=instantly)
            try:
                for _ in range(3):
                    assert await body(fetcher, server.url + "/") == b"image"
                assert fetcher.counts()["fetch_retries"] == 1
                assert (len(asked), server.accepts) == (4, 2)
            finally:
                await fetcher.close()

    asyncio.run(work())


def test_a_body_at_less_than_the_least_rate_ends_before_the_total_time() -> None:
    async def work() -> Rejection:
        slow = drips(OK + b"Content-Length: 99999\r\n\r\n", b"x" * 10)
        async with serving(slow) as server:
            fetcher = HttpFetcher(policy(server.port, total_seconds=60))
            try:
                return await rejection(fetcher, server.url + "/")
            finally:
                await fetcher.close()

    started = time.monotonic()
    found = asyncio.run(work())
    assert time.monotonic() - started < 5
    assert found.reason is Reason.TIMEOUT
    assert "less than 8192" in found.detail


def test_what_servers_sent_in_the_query_or_as_user_never_reaches_the_detail() -> None:
    secret = "s3cr3t"
    fetcher = HttpFetcher(policy(80))

    async def work() -> list[str]:
        uris = [f"http://me:{secret}@127.0.0.1/", f"http://127.0.0.1:81/?key={secret}",
                f"http://127.0.0.1/?{secret} x", f"ftp://me:{secret}@h/"]  # fmt: skip
        return [(await rejection(fetcher, each)).detail for each in uris]

    assert all(secret not in detail for detail in run(fetcher, work))
