"""Addresses and replies damaged at random: whatever they have become, a record gets a reason."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.http.client import HttpFetcher, HttpPolicy
from clip_scoring.images.http.networks import parse_networks
from clip_scoring.images.rejected import ImageRejected
from tests.hostile.network import Network, body, instantly, serving

URIS = (
    "http://user:word@example.org:80/a/b?c=d#e", "https://[2606:4700::1111%25eth0]:443@/x",
    "http://127.0.0.1/", "http://xn--bcher-kva.example/é", "file:///a/b", "s3://b/k",
)  # fmt: skip
PIECES = "abz019.:/@[]%?#\\ \t\u200b\u00dfİé猫０．。①\ud800\uffff-_~+*'\"<>^`{|}"
REPLIES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 302 x\r\nLocation: http://example.org:80/a?b#c\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 x\r\nRetry-After: Tue, 14 Nov 2023 22:15:20 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: a=b\r\nContent-Length: 1\r\n\r\nx",
)
DAMAGE = (b"\r\n", b":", b"//", b"[", b"]", b"%", b"@", b"\\", b"\x00", b"\xff", b"9" * 12, b"-")


@pytest.fixture(autouse=True)
def network() -> Iterator[Network]:
    with Network().watched() as watched:
        yield watched


def damaged_uri(chosen: random.Random) -> str:
    text = list(chosen.choice(URIS))
    for _ in range(chosen.randint(1, 5)):
        at = chosen.randrange(len(text))
        text[at : at + chosen.randint(0, 1)] = chosen.choice(PIECES)
    return "".join(text)


def damaged_reply(chosen: random.Random) -> bytes:
    reply = bytearray(chosen.choice(REPLIES))
    for _ in range(chosen.randint(1, 6)):
        at = chosen.randrange(len(reply))
        piece = chosen.choice((*DAMAGE, bytes([chosen.randrange(256)]), b""))
        reply[at : at + chosen.randint(0, 4)] = piece
    return bytes(reply) or b"x"


def test_an_address_damaged_at_random_is_refused_with_a_reason(network: Network) -> None:
    chosen, ends = random.Random(1), Counter[str]()

    async def work() -> None:
        http = HttpFetcher(HttpPolicy(tries=1), sleep=instantly)
        fetcher = Fetcher(http=http, roots=[], open_objects=None)
        for _ in range(10_000):
            try:
                async with ByteBudget(1).share() as share:
                    await fetcher.fetch(damaged_uri(chosen), share)
            except ImageRejected as refused:
                ends[refused.rejection.reason] += 1
        await fetcher.close()

    asyncio.run(work())
    assert ends.total() == 10_000
    assert not any(address.startswith("127.") for address in network.attempts)


def test_a_reply_damaged_at_random_is_a_body_or_a_reason() -> None:
    chosen, ends = random.Random(1), Counter[str]()
    replies: list[bytes] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        replies.append(damaged_reply(chosen))
        writer.write(replies[-1])
        await writer.drain()
        writer.close()

    async def work() -> None:
        async with serving(answer) as server:
            networks = parse_networks(["127.0.0.0/8"])
            rules = HttpPolicy(networks, (80, server.port), tries=1, host_failures=10_000)
            fetcher = HttpFetcher(rules, sleep=instantly)
            for _ in range(1000):
                try:
                    await body(fetcher, server.url + "/")
                    ends["body"] += 1
                except ImageRejected as refused:
                    ends[refused.rejection.reason] += 1
            await fetcher.close()

    asyncio.run(work())
    assert ends.total() == 1000
    assert len(ends) > 5
