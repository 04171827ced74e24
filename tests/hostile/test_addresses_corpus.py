"""Every spelling of every forbidden address: none is connected, where other clients do."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx
import pytest
import ssrfguard
from ssrfguard._registry import TABLE

from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.http.client import HttpFetcher, HttpPolicy
from clip_scoring.images.http.networks import may_connect, parse_networks
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason, Rejection
from tests.hostile.corpus import FORBIDDEN, PUBLIC, Case, cases
from tests.hostile.network import (
    Answer,
    Network,
    Server,
    answering,
    instantly,
    reply,
    serving,
)

OURS = "127.9.9.9"
"""Where the server is that redirects; the only address that is allowed, and really connected."""
REFUSALS = {
    Reason.URI_FORBIDDEN,
    Reason.URI_INVALID,
    Reason.DNS_FAILED,
    Reason.TOO_MANY_REDIRECTS,
}


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(reachable=lambda address: address == OURS).watched() as watched:
        yield watched


@asynccontextmanager
async def redirecting() -> AsyncIterator[Server]:
    """Answers /STATUS?TARGET with a redirect, anything else with an image."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        target = urlsplit(head.split(b" ")[1].decode())
        if target.path[1:].isdigit():
            writer.write(reply(int(target.path[1:]), b"", f"Location: {unquote(target.query)}"))
        else:
            writer.write(reply())

    async with serving(answer, OURS) as server:
        yield server


def fetcher(server: Server, *, name_seconds: float = 60) -> Fetcher:
    policy = HttpPolicy(
        parse_networks([f"{OURS}/32"]),
        (80, 443, server.port),
        tries=1,
        connect_seconds=1,
        name_seconds=name_seconds,
    )
    return Fetcher(http=HttpFetcher(policy, sleep=instantly), roots=[], open_objects=None)


async def outcome(fetcher: Fetcher, uri: str) -> Rejection | bytes:
    async with ByteBudget(1 << 20).share() as share:
        try:
            return await fetcher.fetch(uri, share)
        except ImageRejected as refused:
            return refused.rejection


async def refuse_all(address: str, network: Network) -> list[str]:
    """What went wrong while every spelling of the address was tried."""
    wrong = []
    async with redirecting() as server:
        for case in cases(address, server.url, 1):
            name = (urlsplit(case.uri.strip()).hostname or "").rstrip(".") if case.answers else ""
            network.names = {name: [list(each) for each in case.answers]} if name else {}
            fetching = fetcher(server)
            try:
                for _ in range(case.again):
                    found = await outcome(fetching, case.uri)
                    if isinstance(found, bytes) or found.reason not in REFUSALS:
                        wrong.append(f"{case.name}: {case.uri!r} ended in {found!r}")
            finally:
                await fetching.close()
    return wrong


@pytest.mark.parametrize("address", FORBIDDEN)
def test_no_spelling_of_a_forbidden_address_is_connected(address: str, network: Network) -> None:
    assert asyncio.run(refuse_all(address, network)) == []
    assert set(network.attempts) <= {OURS}


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_name_that_moves_to_a_forbidden_address_is_not_followed(
    address: str, network: Network
) -> None:
    async def work() -> list[Rejection | bytes]:
        async with serving(answering(reply(200, b"image", "Connection: close")), OURS) as server:
            fetching = fetcher(server, name_seconds=0)
            try:
                uri = f"http://moving.example:{server.port}/"
                return [await outcome(fetching, uri) for _ in range(2)]
            finally:
                await fetching.close()

    network.names = {"moving.example": [[OURS], [address]]}
    detail = "the host has an address that is not public"
    assert asyncio.run(work()) == [b"image", Rejection(Reason.URI_FORBIDDEN, detail)]
    assert network.attempts == [OURS]


def test_there_are_fifty_addresses_and_twenty_five_spellings_of_each() -> None:
    spellings = [len({each.name for each in cases(each, "http://x", 1)}) for each in FORBIDDEN]
    assert len(set(FORBIDDEN)) >= 50
    assert min(spellings) >= 25
    print(f"{len(FORBIDDEN)} addresses, {sum(spellings)} addresses of images")


# The corpus bites: what clients without a guard do with it.


Get = Callable[[str], Awaitable[None]]


async def connected_by(get: Get, network: Network) -> tuple[int, int]:
    """Of how many URLs; those that made the client try a forbidden address."""
    urls = reached = 0
    async with redirecting() as server:
        for number, address in enumerate(FORBIDDEN):
            for case in cases(address, server.url, number):
                reached += await _tries(get, network, case)
                urls += 1
    return urls, reached


async def _tries(get: Get, network: Network, case: Case) -> bool:
    name = (urlsplit(case.uri.strip()).hostname or "").rstrip(".") if case.answers else ""
    network.names = {name: [list(each) for each in case.answers]} if name else {}
    network.attempts.clear()
    for _ in range(case.again):
        await get(case.uri)
    return any(each != OURS and not may_connect(each) for each in network.attempts)


def test_plain_aiohttp_is_led_to_forbidden_addresses(network: Network) -> None:
    async def work() -> tuple[int, int]:
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout) as session:

            async def get(uri: str) -> None:
                # Its errors do not matter here; some are no ClientError.
                with suppress(aiohttp.ClientError, ValueError, OSError, AssertionError):
                    (await session.get(uri)).close()

            return await connected_by(get, network)

    urls, reached = asyncio.run(work())
    print(f"plain aiohttp: {reached} of {urls}")
    assert reached > 500


def test_plain_httpx_is_led_to_forbidden_addresses(network: Network) -> None:
    async def work() -> tuple[int, int]:
        client = httpx.AsyncClient(verify=False, follow_redirects=True, timeout=2)

        async def get(uri: str) -> None:
            with suppress(httpx.HTTPError, httpx.InvalidURL, ValueError, OSError):
                await client.get(uri)

        async with client:
            return await connected_by(get, network)

    urls, reached = asyncio.run(work())
    print(f"plain httpx: {reached} of {urls}")
    assert reached > 500


# Proxies in the environment, and redirects of other kinds.


@pytest.mark.parametrize(
    ("scheme", "name"),
    [("http", "HTTP_PROXY"), ("http", "http_proxy"), ("http", "ALL_PROXY"), ("https", "ALL_PROXY"),
     ("https", "HTTPS_PROXY")],
)  # fmt: skip
def test_proxies_in_the_environment_are_not_connected(
    network: Network, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str
) -> None:
    async def work() -> Rejection | bytes:
        async with redirecting() as server:
            fetching = fetcher(server)
            try:
                return await outcome(fetching, f"{scheme}://{OURS}:{server.port}/")
            finally:
                await fetching.close()

    monkeypatch.setenv(name, "http://10.9.9.9:3128")
    monkeypatch.setenv("NO_PROXY", "")
    found = asyncio.run(work())
    assert set(network.attempts) == {OURS}
    assert found == b"image" if scheme == "http" else isinstance(found, Rejection)


def test_exempting_hosts_from_proxies_exempts_them_from_nothing_else(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    assert asyncio.run(refuse_all("169.254.169.254", network)) == []
    assert set(network.attempts) <= {OURS}


@pytest.mark.parametrize("hops", [4, 5, 20])
def test_a_chain_of_more_redirects_than_allowed_ends(network: Network, hops: int) -> None:
    async def work() -> tuple[Rejection | bytes, int]:
        async with redirecting() as server:
            uri = f"{server.url}/302?{server.url}/image"
            for _ in range(hops - 1):
                uri = f"{server.url}/302?{uri.replace('%', '%25').replace('?', '%3F')}"
            fetching = fetcher(server)
            try:
                return await outcome(fetching, uri), len(server.requests)
            finally:
                await fetching.close()

    found, requests = asyncio.run(work())
    assert isinstance(found, Rejection)
    assert found.reason in {Reason.TOO_MANY_REDIRECTS, Reason.URI_INVALID}
    assert requests <= 4


def test_a_redirect_from_https_to_http_is_forbidden(
    network: Network, certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    served, trusted = certificate

    async def work() -> tuple[Rejection | bytes, int]:
        async with redirecting() as plain:

            async def answer(_: object, writer: asyncio.StreamWriter, __: bytes) -> None:
                writer.write(reply(302, b"", f"Location: {plain.url}/"))

            async with serving(answer, OURS, ssl=served) as server:
                fetching = fetcher(server)
                try:
                    uri = f"https://{OURS}:{server.port}/"
                    return await outcome(fetching, uri), plain.accepts
                finally:
                    await fetching.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusted)
        found, accepts = asyncio.run(work())
    detail = "redirect from https to another scheme"
    assert (found, accepts) == (Rejection(Reason.URI_FORBIDDEN, detail), 0)


def test_a_certificate_that_nobody_vouches_for_is_a_failed_connection(
    network: Network, certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("a request was sent")

    async def work() -> Rejection | bytes:
        answer: Answer = never
        async with serving(answer, OURS, ssl=certificate[0]) as server:
            fetching = fetcher(server)
            try:
                return await outcome(fetching, f"https://{OURS}:{server.port}/")
            finally:
                await fetching.close()

    assert asyncio.run(work()) == Rejection(Reason.CONNECT_FAILED, "TLS failed")


# A second opinion on the table of addresses.


def samples() -> list[str]:
    """Edges and insides of every block that either table knows, and addresses at random."""
    chosen = random.Random(20261121)
    networks = [ip_network(each.network) for each in TABLE]
    found = {*FORBIDDEN, PUBLIC}
    for network in networks:
        first, last = int(network[0]), int(network[-1])
        inside = [chosen.randint(first, last) for _ in range(20)]
        found |= {_text(each, network) for each in (first - 1, first, last, last + 1, *inside)}
    found |= {str(IPv4Network("0.0.0.0/0")[chosen.getrandbits(32)]) for _ in range(2000)}
    found |= {str(IPv6Network("2000::/3")[chosen.getrandbits(125)]) for _ in range(2000)}
    return sorted(found)


def _text(number: int, network: IPv4Network | IPv6Network) -> str:
    most = (1 << network.max_prefixlen) - 1
    return str(type(network[0])(min(max(number, 0), most)))


def test_whatever_a_second_table_refuses_is_refused_here_as_well() -> None:
    table = ssrfguard.Policy()
    refused = [each for each in samples() if not table.permits_address(each)]
    assert len(refused) > 500
    assert [each for each in refused if may_connect(each)] == []


def test_what_is_refused_here_alone_is_anycast_or_not_given_to_anybody() -> None:
    """Services by anycast that no image comes from, and translators with a public address behind.

    Everything outside of 2000::/3 belongs to nobody yet.
    """
    table = ssrfguard.Policy()
    ours = [each for each in samples() if not may_connect(each) and table.permits_address(each)]
    assert Counter(_kind(each) for each in ours)["unexplained"] == 0


_EXPLAINED = parse_networks(
    ["192.0.0.9/32", "192.0.0.10/32", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24",
     "168.63.129.16/32", "2001::/23", "2620:4f:8000::/48", "2002::/16", "64:ff9b::/96", "::/96"]
)  # fmt: skip


def _kind(address: str) -> str:
    literal = ip_address(address)
    if any(literal in each for each in _EXPLAINED if each.version == literal.version):
        return "special"
    outside = literal.version == 6 and literal not in IPv6Network("2000::/3")
    return "nobody's" if outside else "unexplained"
