"""Being polite and patient with hosts: turns, second attempts, giving up, and names remembered."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.http.circuit_breaker import CircuitBreaker
from clip_scoring.images.http.client import HttpFetcher, HttpPolicy
from clip_scoring.images.http.deadline import Deadline, MinimumRate
from clip_scoring.images.http.guard import AddressForbidden, Guard, Names, NameUnknown
from clip_scoring.images.http.networks import parse_networks
from clip_scoring.images.http.replies import retry_after
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason, Rejection
from tests.hostile.network import (
    LIMIT,
    Network,
    Server,
    answering,
    body,
    instantly,
    rejection,
    reply,
    serving,
)

DOWN = Rejection(Reason.CONNECT_FAILED, "refused")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture(autouse=True)
def network() -> Iterator[Network]:
    with Network().watched() as watched:
        yield watched


def policy(server: Server, **settings: Any) -> HttpPolicy:
    return HttpPolicy(parse_networks(["127.0.0.0/8"]), (server.port,), **settings)


Work = Callable[[Server, HttpFetcher], Awaitable[Any]]


def with_server(
    answer: Any, work: Work, *, rules: dict[str, Any] | None = None, **seams: Any
) -> Any:
    """The result of some work with a fetcher and the server that it may ask."""

    async def worked() -> Any:
        async with serving(answer) as server:
            fetcher = HttpFetcher(policy(server, **(rules or {})), **{"sleep": instantly, **seams})
            try:
                return await work(server, fetcher)
            finally:
                await fetcher.close()

    return asyncio.run(worked())


# Turns.


def test_a_host_gets_no_more_requests_at_once_than_allowed() -> None:
    async def work() -> int:
        full, release = asyncio.Semaphore(0), asyncio.Event()

        async def answer(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
            full.release()
            await release.wait()
            writer.write(reply())

        async with serving(answer) as server:
            fetcher = HttpFetcher(policy(server, per_host=3))
            fetches = [asyncio.ensure_future(body(fetcher, server.url + "/")) for _ in range(10)]
            for _ in range(3):
                await full.acquire()
            assert server.busy == 3
            release.set()
            assert await asyncio.gather(*fetches) == [b"image"] * 10
            await fetcher.close()
            assert server.accepts <= 3
            return server.most_busy

    assert asyncio.run(work()) == 3


def test_who_waits_for_a_slow_host_does_not_hold_up_another() -> None:
    async def work() -> None:
        hosts = CircuitBreaker(HttpPolicy(per_host=1, connections=2), Clock())
        async with hosts.acquire("slow"):
            waiting = [asyncio.ensure_future(_turn(hosts, "slow")) for _ in range(5)]
            await asyncio.sleep(0)
            await asyncio.wait_for(_turn(hosts, "fast"), timeout=1)
        await asyncio.gather(*waiting)

    asyncio.run(work())


async def _turn(hosts: CircuitBreaker, name: str) -> None:
    async with hosts.acquire(name):
        await asyncio.sleep(0)


def test_waiting_for_ones_turn_does_not_count_as_time_of_the_server() -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> list[bytes]:
        uri = server.url + "/"
        return await asyncio.gather(*(body(fetcher, uri) for _ in range(5)))

    async def slowly(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        await asyncio.sleep(0.15)
        writer.write(reply())

    rules = {"per_host": 1, "total_seconds": 0.4}
    assert with_server(slowly, work, rules=rules) == [b"image"] * 5


def test_waiting_for_memory_does_not_count_as_time_of_the_server() -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> bytes:
        budget = ByteBudget(1)
        async with budget.share() as other, budget.share() as share:
            await other.grow(2)
            fetching = asyncio.ensure_future(fetcher.fetch(server.url + "/", share, limit=LIMIT))
            done, _ = await asyncio.wait([fetching], timeout=0.5)
            assert not done
            other.give_back()
            return await fetching

    rules = {"total_seconds": 0.2, "rate_after_seconds": 0.1}
    assert with_server(answering(reply()), work, rules=rules) == b"image"


# Second attempts.


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_that_passes_costs_an_attempt_and_no_record(status: int) -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> tuple[bytes, dict[str, int]]:
        return await body(fetcher, server.url + "/"), fetcher.counts()

    answer = answering(reply(status, b""), reply(status, b""), reply())
    found, counts = with_server(answer, work)
    assert (found, counts["fetch_retries"], counts["connections"]) == (b"image", 2, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 429])
def test_a_failure_that_stays_is_not_tried_again(status: int) -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> int:
        await rejection(fetcher, server.url + "/")
        return len(server.requests)

    assert with_server(answering(reply(status, b"")), work) == 1


def test_there_are_three_attempts_and_growing_waits_at_random() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def work(server: Server, fetcher: HttpFetcher) -> tuple[Rejection, int]:
        return await rejection(fetcher, server.url + "/"), len(server.requests)

    answer = answering(reply(500, b""))
    found, requests = with_server(answer, work, sleep=sleep, jitter=lambda: 0.5)
    assert (found, requests) == (Rejection(Reason.HTTP_5XX, "status 500"), 3)
    assert waits == [0.25, 0.5]


def test_a_wait_that_the_server_asks_for_is_kept_when_it_is_short() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def work(server: Server, fetcher: HttpFetcher) -> bytes:
        return await body(fetcher, server.url + "/")

    answer = answering(
        reply(429, b"", "Retry-After: 2"), reply(503, b"", "Retry-After: 3"), reply()
    )
    assert with_server(answer, work, sleep=sleep, jitter=lambda: 0.0) == b"image"
    assert waits == [2, 3]


@pytest.mark.parametrize(("status", "reason"), [(429, Reason.HTTP_429), (503, Reason.HTTP_5XX)])
def test_a_long_wait_that_the_server_asks_for_is_left_to_another_night(
    status: int, reason: Reason
) -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> tuple[Rejection, int]:
        return await rejection(fetcher, server.url + "/"), len(server.requests)

    answer = answering(reply(status, b"", "Retry-After: 7200"))
    found, requests = with_server(answer, work)
    assert (found, requests) == (Rejection(reason, f"status {status}", 7200), 1)


def test_no_attempt_begins_when_the_time_would_not_last() -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> int:
        await rejection(fetcher, server.url + "/")
        return len(server.requests)

    answer = answering(reply(503, b"", "Retry-After: 4"))
    assert with_server(answer, work, rules={"total_seconds": 3.0}) == 1


NOON = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0", 0), ("999999", 86_400), ("Tue, 14 Nov 2023 22:15:20 GMT", 120),
     ("Tuesday, 14-Nov-23 22:15:20 GMT", 120), ("Tue Nov 14 22:15:20 2023", 120),
     ("Tue, 14 Nov 2023 22:00:00 GMT", 0), ("Fri, 14 Nov 2053 22:15:20 GMT", 86_400),
     ("Tue, 99 Nov 2023 22:15:20 GMT", 0), ("tomorrow", 0), ("", 0), ("-5", 0), ("1e9", 0)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, seconds: int) -> None:
    assert retry_after(header, NOON) == seconds


def test_bytes_of_an_attempt_that_broke_are_given_back() -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> int:
        budget = ByteBudget(LIMIT)
        async with budget.share() as share:
            assert await fetcher.fetch(server.url + "/", share, limit=LIMIT) == b"whole"
            return budget.bytes_in_use

    async def breaks_once(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        asked.append(1)
        writer.write(reply(200, b"whole") if len(asked) > 1 else reply(200, b"whole")[:-2])
        if len(asked) == 1:
            writer.close()

    asked: list[int] = []
    assert with_server(breaks_once, work) == len(b"whole")


# Giving up.


def test_a_host_is_given_up_on_after_so_many_failures_and_tried_once_when_it_has_rested() -> None:
    clock = Clock()

    async def work() -> None:
        hosts = CircuitBreaker(HttpPolicy(host_failures=3, breaker_reset_seconds=60), clock)
        for _ in range(3):
            async with hosts.acquire("h"):
                hosts.record("h", DOWN)
        await _is_refused(hosts)
        clock.time += 60
        async with hosts.acquire("h"):
            await _is_refused(hosts)
            hosts.record("h", DOWN)
        await _is_refused(hosts)
        clock.time += 60
        async with hosts.acquire("h"):
            hosts.record("h", None)
        async with hosts.acquire("h"), hosts.acquire("h"):
            assert hosts.given_up == 1

    asyncio.run(work())


async def _is_refused(hosts: CircuitBreaker) -> None:
    with pytest.raises(ImageRejected) as raised:
        await _turn(hosts, "h")
    found = raised.value.rejection
    assert found.reason is DOWN.reason
    assert found.detail.startswith("not tried: ")


def test_a_trial_that_is_cancelled_makes_room_for_another() -> None:
    clock = Clock()

    async def work() -> None:
        hosts = CircuitBreaker(HttpPolicy(host_failures=1), clock)
        hosts.record("h", DOWN)
        clock.time += 60
        trial = asyncio.ensure_future(_wait_in_turn(hosts))
        await asyncio.sleep(0)
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        async with hosts.acquire("h"):
            hosts.record("h", None)

    asyncio.run(work())


async def _wait_in_turn(hosts: CircuitBreaker) -> None:
    async with hosts.acquire("h"):
        await asyncio.Event().wait()


@pytest.mark.parametrize("reason", [Reason.HTTP_404_410, Reason.IMAGE_TOO_LARGE, None])
def test_whatever_shows_that_a_host_lives_ends_the_row_of_failures(reason: Reason | None) -> None:
    async def work() -> None:
        hosts = CircuitBreaker(HttpPolicy(host_failures=2), Clock())
        for _ in range(5):
            hosts.record("h", DOWN)
            hosts.record("h", None if reason is None else Rejection(reason))
        await _turn(hosts, "h")

    asyncio.run(work())


def test_one_host_that_is_given_up_on_says_nothing_about_another() -> None:
    async def work() -> None:
        hosts = CircuitBreaker(HttpPolicy(host_failures=1), Clock())
        hosts.record("h", DOWN)
        await _turn(hosts, "other")

    asyncio.run(work())


def test_of_hosts_that_are_idle_and_well_nothing_is_kept() -> None:
    async def work() -> None:
        hosts = CircuitBreaker(HttpPolicy(), Clock())
        for number in range(11_000):
            hosts.record(f"bad{number}", DOWN)
            await _turn(hosts, f"good{number}")
        assert len(hosts._hosts) <= 10_001

    asyncio.run(work())


def test_images_of_a_host_that_is_down_are_refused_without_a_connection(network: Network) -> None:
    async def work() -> tuple[set[Reason], list[int], dict[str, int]]:
        fetcher = HttpFetcher(
            HttpPolicy(parse_networks(["127.0.0.2/32"]), (9,), host_failures=4), sleep=instantly
        )
        reasons, opened = set(), []
        for _ in range(10):
            reasons.add((await rejection(fetcher, "http://127.0.0.2:9/")).reason)
            opened.append(len(network.attempts))
        await fetcher.close()
        return reasons, opened, fetcher.counts()

    reasons, opened, counts = asyncio.run(work())
    assert reasons == {Reason.CONNECT_FAILED}
    assert opened == [3, 6, 9, 12, 12, 12, 12, 12, 12, 12]
    assert counts == {"fetch_retries": 8, "dns_lookups": 0, "connections": 12, "hosts_given_up": 1}


# Names.


def names(resolve: Any, clock: Clock, **settings: Any) -> Names:
    return Names(HttpPolicy(**settings), resolve, clock)


def test_lookups_of_one_name_at_the_same_time_are_one() -> None:
    release, asked = threading.Event(), []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        release.wait(10)
        return ["127.0.0.1"]

    async def work() -> list[list[str]]:
        known = names(resolve, Clock())
        waiting = [asyncio.ensure_future(known.addresses("h", 80)) for _ in range(20)]
        await asyncio.sleep(0)
        waiting.pop().cancel()
        release.set()
        found = await asyncio.gather(*waiting)
        await known.close()
        return found

    assert asyncio.run(work()) == [["127.0.0.1"]] * 19
    assert asked == ["h"]


@pytest.mark.parametrize(("known", "seconds"), [(True, 60), (False, 5)])
def test_an_answer_is_remembered_for_a_while(known: bool, seconds: float) -> None:
    clock, asked = Clock(), []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if known else []

    async def ask(cache: Names) -> None:
        try:
            await cache.addresses("h", 80)
        except NameUnknown:
            assert not known

    async def work() -> list[int]:
        cache, lookups = names(resolve, clock), []
        for moved in (0, seconds - 1, 1):
            clock.time += moved
            await ask(cache)
            lookups.append(cache.lookups)
        await cache.close()
        return lookups

    assert asyncio.run(work()) == [1, 1, 2]


def test_a_lookup_without_answer_ends_in_time_and_is_not_begun_again() -> None:
    release, asked = threading.Event(), []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        release.wait(10)
        return []

    async def work() -> None:
        cache = names(resolve, Clock(), connect_seconds=0.05)
        for _ in range(3):
            with pytest.raises(NameUnknown, match="no answer"):
                await cache.addresses("h", 80)
        release.set()
        await cache.close()

    asyncio.run(work())
    assert asked == ["h"]


def test_remembered_addresses_are_judged_at_each_use() -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> list[Reason]:
        uri = f"http://private.example:{server.port}/"
        return [(await rejection(fetcher, uri)).reason for _ in range(3)]

    found = with_server(answering(reply()), work, resolve=lambda *_: ["10.0.0.1"])
    assert found == [Reason.URI_FORBIDDEN] * 3


def test_images_of_one_host_share_one_lookup_and_one_connection() -> None:
    async def work(server: Server, fetcher: HttpFetcher) -> dict[str, int]:
        for number in range(5):
            await body(fetcher, f"http://NAME.example:{server.port}/{number}")
        return fetcher.counts()

    counts = with_server(answering(reply()), work, resolve=lambda *_: ["127.0.0.1"])
    assert (counts["dns_lookups"], counts["connections"]) == (1, 1)


@pytest.mark.parametrize("address", ["10.0.0.1", "::1", "64:ff9b::7f00:1", "fe80::1%lo", "h"])
def test_a_socket_for_a_forbidden_address_is_not_even_made(address: str) -> None:
    guard = Guard(HttpPolicy(), names(None, Clock()))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(AddressForbidden):
        guard.open_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80)))
    assert guard.opened == 0


# CircuitBreaker by name, and a proxy for everything.


def test_an_allowed_host_may_lead_to_a_private_address_and_no_other_may() -> None:
    async def work() -> tuple[bytes, list[Reason]]:
        async with serving(answering(reply())) as server:
            rules = HttpPolicy((), (server.port,), ("images.internal",))
            fetcher = HttpFetcher(rules, resolve=lambda *_: ["127.0.0.1"])
            port = server.port
            found = await body(fetcher, f"http://Images.Internal.:{port}/")
            others = ("127.0.0.1", "internal", "x.images.internal", "images.internal.example")
            refused = [(await rejection(fetcher, f"http://{h}:{port}/")).reason for h in others]
            await fetcher.close()
            return found, refused

    assert asyncio.run(work()) == (b"image", [Reason.URI_FORBIDDEN] * 4)


def through_proxy(uri: str, *, answers: Any = None) -> tuple[Any, list[bytes], list[str]]:
    """How a fetch through a proxy ends, what the proxy was asked, which names were looked up."""
    looked_up: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    async def work() -> tuple[Any, list[bytes], list[str]]:
        async with serving(answers or answering(reply())) as proxy:
            url = f"http://proxy.internal:{proxy.port}"
            fetcher = HttpFetcher(HttpPolicy(egress_proxy=url), resolve=resolve, sleep=instantly)
            try:
                found: Any = await body(fetcher, uri)
            except ImageRejected as refused:
                found = refused.rejection.reason
            await fetcher.close()
            return found, proxy.requests, looked_up

    return asyncio.run(work())


def test_with_a_proxy_every_request_goes_there_and_it_looks_up_the_names() -> None:
    found, requests, looked_up = through_proxy("http://pictures.example/a%2Fb?c=%3D#part")
    assert found == b"image"
    assert requests[0].startswith(b"GET http://pictures.example/a%2Fb?c=%3D HTTP/1.1\r\n")
    assert looked_up == ["proxy.internal"]


@pytest.mark.parametrize(("status", "reason"), [(403, "uri_forbidden"), (407, "uri_forbidden"),
                                                (502, "connect_failed")])  # fmt: skip
def test_a_proxy_that_opens_no_tunnel_is_a_reason(status: int, reason: str) -> None:
    found, requests, _ = through_proxy(
        "https://pictures.example/", answers=answering(reply(status, b""))
    )
    assert found == reason
    assert requests[0].startswith(b"CONNECT pictures.example:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1/", "http://169.254.169.254/", "http://[::1]/", "http://2130706433/",
     "http://0x7f.1/", "http://localhost/", "http://a.LOCALHOST./", "http://x.example:22/",
     "https://[fd00:ec2::254]/", "http://user@x.example/"],
)  # fmt: skip
def test_with_a_proxy_the_rules_for_what_the_address_says_still_hold(uri: str) -> None:
    found, requests, looked_up = through_proxy(uri)
    assert (found, requests, looked_up) == (Reason.URI_FORBIDDEN, [], [])


def test_with_a_proxy_a_redirect_is_judged_as_well() -> None:
    found, requests, _ = through_proxy(
        "http://x.example/", answers=answering(reply(302, b"", "Location: http://10.0.0.1/"))
    )
    assert (found, len(requests)) == (Reason.URI_FORBIDDEN, 1)


# MinimumRate.


def test_a_body_is_too_slow_when_its_average_is_below_the_least_rate_after_a_while() -> None:
    clock = Clock()
    rate = MinimumRate(HttpPolicy(min_rate=100, rate_after_seconds=3), clock)
    for _ in range(3):
        clock.time += 1
        rate.count(1)
    clock.time += 1
    with pytest.raises(ImageRejected) as raised:
        rate.count(1)
    assert raised.value.rejection.reason is Reason.TIMEOUT


def test_a_body_that_came_fast_may_pause() -> None:
    clock = Clock()
    rate = MinimumRate(HttpPolicy(min_rate=100, rate_after_seconds=3), clock)
    rate.count(1000)
    clock.time += 9
    rate.count(1)
    assert rate.size == 1001


def test_a_deadline_ends_with_its_seconds_whatever_was_paused() -> None:
    async def work() -> float:
        deadline = Deadline(HttpPolicy(total_seconds=0.2))
        with pytest.raises(TimeoutError):
            async with deadline.running():
                await deadline.paused(asyncio.sleep(0.3))
                await asyncio.Event().wait()
        return deadline.seconds

    assert asyncio.run(work()) <= 0.01
