"""Fetching over HTTP from a real server on the loopback interface, and all that is refused."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clip_scoring.images.http.client import HttpFetcher, HttpPolicy
from clip_scoring.images.http.networks import parse_networks
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason, Rejection
from tests.hostile import network
from tests.hostile.network import LIMIT, Network, body, instantly, run

Route = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers by routes that a test sets, counts its connections and keeps the requests."""

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.accepts = 0
        self.seen: list[BaseHTTPRequestHandler] = []
        self.routes: dict[str, Route] = {}
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[socket.socket, object]:
        self.accepts += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self)
        self.server.routes[self.path.partition("?")[0]](self)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


def answer(status: int = 200, body: bytes = b"image", **headers: str) -> Route:
    """A route that sends this response; header names have _ for -."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(body))} | given).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def raw(data: bytes) -> Route:
    """A route that sends these bytes and hangs up."""
    return lambda handler: handler.wfile.write(data) and None


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.ended.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def connected() -> Iterator[list[str]]:
    """Addresses that were tried; only loopback is really connected."""
    with Network().watched(names=False) as seen:
        yield seen.attempts


def policy(server: Server, **settings: Any) -> HttpPolicy:
    return HttpPolicy(parse_networks(["127.0.0.0/8"]), (server.server_port,), **settings)


def fetched(fetcher: HttpFetcher, *uris: str) -> list[bytes]:
    """The bodies, one after the other, by one fetcher."""

    async def work() -> list[bytes]:
        return [await body(fetcher, uri) for uri in uris]

    found: list[bytes] = run(fetcher, work)
    return found


def refused(fetcher: HttpFetcher, uri: str) -> Rejection:
    found: Rejection = run(fetcher, lambda: network.rejection(fetcher, uri))
    return found


def fetch(server: Server, path: str = "/", **settings: Any) -> bytes:
    fetcher = HttpFetcher(policy(server, **settings), sleep=instantly)
    return fetched(fetcher, server.url + path)[0]


def rejection(server: Server, path: str = "/", **settings: Any) -> Rejection:
    fetcher = HttpFetcher(policy(server, **settings), sleep=instantly)
    return refused(fetcher, server.url + path)


def closed(uri: str, *, port: int = 80, found: list[str] | None = None) -> Reason:
    """Why a fetcher without allowed networks refuses; `found` is what its resolver answers."""
    rules = HttpPolicy(allowed_ports=(80, 443, port))
    fetcher = HttpFetcher(rules) if found is None else HttpFetcher(rules, resolve=lambda *_: found)
    return refused(fetcher, uri).reason


def unreachable_name(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was resolved")


# What a server sends.


def test_the_body_is_returned_as_it_was_sent(server: Server) -> None:
    body = bytes(range(256)) * 300
    server.routes["/"] = answer(body=body)
    assert fetch(server) == body


def test_a_body_without_length_ends_with_the_connection(server: Server) -> None:
    server.routes["/"] = raw(b"HTTP/1.0 200 OK\r\n\r\nimage")
    assert fetch(server) == b"image"


def test_a_chunked_body_is_put_together(server: Server) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    server.routes["/"] = raw(head + b"3\r\nima\r\n2\r\nge\r\n0\r\n\r\n")
    assert fetch(server) == b"image"


def test_an_empty_body_is_returned_as_nothing(server: Server) -> None:
    server.routes["/"] = answer(body=b"")
    assert fetch(server) == b""


def test_the_request_asks_for_an_image_without_encoding_and_sends_no_secrets(
    server: Server,
) -> None:
    server.routes["/"] = answer()
    fetch(server)
    assert {name.lower(): value for name, value in server.seen[0].headers.items()} == {
        "host": f"127.0.0.1:{server.server_port}",
        "accept": "image/*",
        "accept-encoding": "identity",
        "user-agent": "clip-scoring",
    }


def test_a_cookie_that_a_server_sets_is_not_sent_back(server: Server) -> None:
    server.routes["/"] = answer(Set_Cookie="a=b")
    fetched(HttpFetcher(policy(server)), server.url + "/", server.url + "/")
    assert [seen.headers["Cookie"] for seen in server.seen] == [None, None]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "http_4xx"), (401, "http_401_403"), (403, "http_401_403"), (404, "http_404_410"),
     (410, "http_404_410"), (418, "http_4xx"), (429, "http_429"), (500, "http_5xx"),
     (503, "http_5xx"), (599, "http_5xx")],
)  # fmt: skip
def test_a_status_of_failure_is_a_reason(server: Server, status: int, reason: str) -> None:
    server.routes["/"] = answer(status, b"<html>")
    assert rejection(server) == Rejection(
        Reason(reason), f"status {status}", 0 if status == 429 else None
    )


@pytest.mark.parametrize("status", [201, 204, 206, 304])
def test_another_status_than_200_is_no_image(server: Server, status: int) -> None:
    server.routes["/"] = answer(status, b"")
    assert rejection(server).reason is Reason.HTTP_4XX


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0", 0), ("99999999", 86_400), ("-1", 0), ("1.5", 0), ("soon", 0), ("", 0),
     ("9" * 5000, 86_400), ("\xb2", 0)],
)  # fmt: skip
def test_retry_after_is_taken_in_seconds_up_to_a_day(
    server: Server, header: str, seconds: int
) -> None:
    server.routes["/"] = answer(429, Retry_After=header)
    assert rejection(server) == Rejection(Reason.HTTP_429, "status 429", seconds)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP", "gzip, identity", "x"])
def test_an_encoded_body_is_refused(server: Server, encoding: str) -> None:
    server.routes["/"] = answer(Content_Encoding=encoding)
    assert rejection(server).reason is Reason.UNSUPPORTED_ENCODING


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_a_body_that_says_it_is_not_encoded_is_taken(server: Server, encoding: str) -> None:
    server.routes["/"] = answer(Content_Encoding=encoding)
    assert fetch(server) == b"image"


def test_a_body_of_exactly_the_limit_is_taken(server: Server) -> None:
    server.routes["/"] = answer(body=b"x" * LIMIT)
    assert len(fetch(server)) == LIMIT


def test_a_body_over_the_limit_is_refused(server: Server) -> None:
    server.routes["/"] = answer(body=b"x" * (LIMIT + 1))
    assert rejection(server).reason is Reason.IMAGE_TOO_LARGE


def test_a_body_without_end_is_refused_at_the_limit(server: Server) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while not server.ended.is_set():
            handler.wfile.write(b"x" * 10_000)

    server.routes["/"] = endless
    assert rejection(server).reason is Reason.IMAGE_TOO_LARGE


def test_a_body_shorter_than_its_length_is_truncated(server: Server) -> None:
    server.routes["/"] = answer(body=b"ima", Content_Length="5")
    assert rejection(server).reason is Reason.BODY_TRUNCATED


@pytest.mark.parametrize("chunks", [b"5\r\nima", b"3\r\nima\r\n", b"zz\r\nimage\r\n0\r\n\r\n"])
def test_a_chunked_body_that_breaks_off_is_retried(server: Server, chunks: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    server.routes["/"] = raw(head + chunks)
    assert rejection(server).reason in {Reason.BODY_TRUNCATED, Reason.CONNECT_FAILED}


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.0 abc\r\n\r\n", b"HTTP/1.0 99999 x\r\n\r\n",
     b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.0 200 " + b"x" * 70_000,
     b"HTTP/1.0 200 OK\r\na: " + b"x" * 70_000],
    ids=["nothing", "blank", "ssh", "letters", "status", "headers", "long line", "long header"],
)  # fmt: skip
def test_a_server_that_does_not_speak_http_is_a_failed_connection(
    server: Server, data: bytes
) -> None:
    server.routes["/"] = raw(data)
    assert rejection(server).reason is Reason.CONNECT_FAILED


@pytest.mark.parametrize("length", ["-5", "five", "5, 6", "5, 5"])
def test_a_length_that_makes_no_sense_costs_one_record_at_most(server: Server, length: str) -> None:
    server.routes["/"] = answer(Content_Length=length)
    try:
        assert fetch(server) == b"image"
    except ImageRejected as refused:
        assert refused.rejection.reason in {Reason.CONNECT_FAILED, Reason.BODY_TRUNCATED}


# Time.


def silent(handler: BaseHTTPRequestHandler) -> None:
    handler.server.ended.wait(30)  # type: ignore[attr-defined]


def test_a_silent_server_is_a_timeout(server: Server) -> None:
    server.routes["/"] = silent
    started = time.monotonic()
    assert rejection(server, read_seconds=0.2).reason is Reason.TIMEOUT
    assert time.monotonic() - started < 5


def test_a_server_that_falls_silent_in_the_body_is_a_timeout(server: Server) -> None:
    def pause(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nima")
        silent(handler)

    server.routes["/"] = pause
    assert rejection(server, read_seconds=0.2).reason is Reason.TIMEOUT


def drip(head: bytes, tail: bytes) -> Route:
    """Sends the head at once and the tail byte by byte, without end."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not handler.server.ended.wait(0.02):  # type: ignore[attr-defined]
            handler.wfile.write(tail)

    return send


def test_a_dripping_body_ends_with_the_total_time(server: Server) -> None:
    server.routes["/"] = drip(b"HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x")
    started = time.monotonic()
    assert rejection(server, read_seconds=5, total_seconds=0.3).reason is Reason.TIMEOUT
    assert time.monotonic() - started < 5


def test_dripping_headers_end_with_the_total_time(server: Server) -> None:
    server.routes["/"] = drip(b"HTTP/1.0 200 OK\r\nX-Long: ", b"x")
    started = time.monotonic()
    assert rejection(server, read_seconds=5, total_seconds=0.3).reason is Reason.TIMEOUT
    assert time.monotonic() - started < 5


def test_a_closed_port_is_a_failed_connection(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        rules = HttpPolicy(parse_networks(["127.0.0.0/8"]), (port,))
        fetcher = HttpFetcher(rules, sleep=instantly)
        assert refused(fetcher, f"http://127.0.0.1:{port}/").reason is Reason.CONNECT_FAILED


def test_a_connection_that_takes_too_long_is_a_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        rules = HttpPolicy(parse_networks(["127.0.0.0/8"]), address[1:], connect_seconds=0.1)
        with socket.create_connection(address), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(address)
            fetcher = HttpFetcher(rules, sleep=instantly)
            assert refused(fetcher, f"http://127.0.0.1:{address[1]}/").reason is Reason.TIMEOUT


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(server: Server, status: int) -> None:
    server.routes = {"/": answer(status, b"", Location="/image"), "/image": answer(body=b"there")}
    assert fetch(server) == b"there"


def test_a_relative_redirect_starts_at_the_page_that_sent_it(server: Server) -> None:
    server.routes = {"/a/b": answer(302, Location="../c"), "/c": answer(body=b"there")}
    assert fetch(server, "/a/b") == b"there"


def test_as_many_redirects_as_allowed_are_followed(server: Server) -> None:
    server.routes = {f"/{n}": answer(302, Location=f"/{n + 1}") for n in range(3)}
    server.routes["/3"] = answer(body=b"there")
    assert fetch(server, "/0", max_redirects=3) == b"there"


def test_one_redirect_more_than_allowed_is_refused(server: Server) -> None:
    server.routes = {f"/{n}": answer(302, Location=f"/{n + 1}") for n in range(3)}
    assert rejection(server, "/0", max_redirects=2).reason is Reason.TOO_MANY_REDIRECTS
    assert len(server.seen) == 3


def test_a_redirect_to_itself_ends(server: Server) -> None:
    server.routes["/"] = answer(302, Location="/")
    assert rejection(server).reason is Reason.TOO_MANY_REDIRECTS


def test_a_redirect_without_location_is_no_image(server: Server) -> None:
    server.routes["/"] = answer(302)
    assert rejection(server).reason is Reason.HTTP_4XX


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "//192.168.0.1/x",
     "http://[::1]/", "http://[fd00:ec2::254]/", "http://0.0.0.0/", "ftp://127.0.0.1/x",
     "http://user:word@127.0.0.1/x", "http://127.0.0.1:22/x"],
)  # fmt: skip
def test_a_redirect_to_where_nobody_may_go_is_forbidden(
    server: Server, connected: list[str], target: str
) -> None:
    server.routes["/"] = answer(302, Location=target)
    rules = HttpPolicy(policy(server).allowed_networks, (80, server.server_port))
    assert refused(HttpFetcher(rules), server.url + "/").reason is Reason.URI_FORBIDDEN
    assert connected == ["127.0.0.1"]


@pytest.mark.parametrize(
    "target", ["http://[::1", "http://127.0.0.1:99999/", "file:///etc/passwd", "http:// /",
               "data:image/png;base64,AAAA", "http://[v1.x]/", "//[", "/a b"]
)  # fmt: skip
def test_a_redirect_to_no_web_address_is_refused(
    server: Server, connected: list[str], target: str
) -> None:
    server.routes["/"] = answer(302, Location=target)
    assert rejection(server).reason in {Reason.URI_INVALID, Reason.URI_FORBIDDEN}
    assert connected == ["127.0.0.1"]


# Addresses: nothing below may open a connection.


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.255.255.254",
     "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "[::127.0.0.1]", "0.0.0.0", "0",
     "localhost", "LOCALHOST"],
)  # fmt: skip
def test_the_loopback_interface_is_forbidden_in_every_spelling(
    server: Server, connected: list[str], host: str
) -> None:
    uri = f"http://{host}:{server.server_port}/"
    assert closed(uri, port=server.server_port) is Reason.URI_FORBIDDEN
    assert (server.accepts, connected) == (0, [])


@pytest.mark.parametrize(
    "host", ["127。0。0。1", "127．0．0．1", "①27.0.0.1", "ⅼocalhost", "[fe80::1%25lo]"]
)
def test_a_host_in_characters_that_look_like_loopback_is_refused(
    server: Server, connected: list[str], host: str
) -> None:
    reason = closed(f"http://{host}:{server.server_port}/", port=server.server_port)
    assert reason in {Reason.URI_FORBIDDEN, Reason.URI_INVALID, Reason.DNS_FAILED}
    assert (server.accepts, connected) == (0, [])


@pytest.mark.parametrize(
    "found",
    [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["2606:4700:4700::1111", "::1"],
     ["8.8.8.8", "fe80::1%eth0"], ["8.8.8.8", "::ffff:10.0.0.1"], ["169.254.169.254"]],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_with_one_special_address_is_never_connected(
    connected: list[str], found: list[str], scheme: str
) -> None:
    assert closed(f"{scheme}://example.org/", found=found) is Reason.URI_FORBIDDEN
    assert connected == []


def test_the_address_that_was_checked_is_the_one_that_is_connected(
    server: Server, connected: list[str]
) -> None:
    server.routes["/"] = answer()
    answers = iter([["127.0.0.2"], ["8.8.8.8"]])
    fetcher = HttpFetcher(policy(server, tries=1), resolve=lambda *_: next(answers))
    uri = f"http://rebinding.example:{server.server_port}/"  # nobody listens at 127.0.0.2
    assert refused(fetcher, uri).reason is Reason.CONNECT_FAILED
    assert connected == ["127.0.0.2"]


def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer(
    server: Server, connected: list[str]
) -> None:
    server.routes["/"] = answer()
    fetcher = HttpFetcher(policy(server), resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert fetched(fetcher, f"http://two.example:{server.server_port}/") == [b"image"]
    assert connected == ["127.0.0.2", "127.0.0.1"]


def test_the_name_stays_in_the_host_header(server: Server) -> None:
    server.routes["/"] = answer()
    fetcher = HttpFetcher(policy(server), resolve=lambda *_: ["127.0.0.1"])
    fetched(fetcher, f"http://name.example:{server.server_port}/")
    assert server.seen[0].headers["Host"] == f"name.example:{server.server_port}"


def test_a_name_without_address_is_a_failure_of_dns(connected: list[str]) -> None:
    assert closed("http://example.org/", found=[]) is Reason.DNS_FAILED
    assert connected == []


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "unknown"), UnicodeError("label")])
def test_a_name_that_cannot_be_resolved_is_a_failure_of_dns(failure: Exception) -> None:
    def fails(host: str, port: int) -> list[str]:
        raise failure

    assert refused(HttpFetcher(resolve=fails), "http://unknown.example/") == Rejection(
        Reason.DNS_FAILED, "the host name is unknown"
    )


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_a_name_with_an_impossible_label_is_a_failure_of_dns(host: str) -> None:
    assert refused(HttpFetcher(), f"http://{host}/").reason is Reason.DNS_FAILED


def test_proxy_variables_are_ignored(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = "http://127.0.0.1:1"
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    server.routes["/"] = answer()
    assert fetch(server) == b"image"


# Addresses that are refused before any name is resolved.


def refused_unresolved(uri: str) -> Reason:
    return refused(HttpFetcher(resolve=unreachable_name), uri).reason


@pytest.mark.parametrize(
    "uri",
    ["http://user@example.org/", "http://user:word@example.org/", "http://:word@example.org/",
     "http://example.org:22/", "http://example.org:8080/",
     "https://example.org:65535/", "ftp://example.org/",
     "gopher://example.org/", "javascript://example.org/", "http://@example.org/"],
)  # fmt: skip
def test_user_information_other_ports_and_other_schemes_are_forbidden(uri: str) -> None:
    assert refused_unresolved(uri) is Reason.URI_FORBIDDEN


@pytest.mark.parametrize(
    "uri",
    ["http://example.org/\r\nX-Injected: 1", "http://example.org/\x00", "http://example.org/a b",
     "http://example.org/\t", "http://example.org/\x7f", "http:\\\\example.org\\", " http://x.org/",
     "http://example.org/" + "x" * 3000, "http://", "http:///x", "http:/x", "https://?q", "/x",
     "http://[::1", "http://example.org:port/", "http://example.org:99999/", "", "example.org/x",
     "http://example.org/\x85", "http://example.org/\u2028", "http://ex\u200bample.org/",
     "http://[::1]:80@/"],
)  # fmt: skip
def test_a_text_that_is_no_web_address_is_invalid(uri: str) -> None:
    assert refused_unresolved(uri) is Reason.URI_INVALID


def test_an_address_of_exactly_2048_characters_is_fetched(server: Server) -> None:
    path = "/?" + "x" * (2048 - len(server.url) - 2)
    server.routes["/"] = answer()
    assert fetch(server, path) == b"image"


def test_a_scheme_in_capitals_is_a_scheme(server: Server) -> None:
    server.routes["/"] = answer()
    uri = f"HTTP://127.0.0.1:{server.server_port}/"
    assert fetched(HttpFetcher(policy(server)), uri) == [b"image"]
