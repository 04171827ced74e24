"""Images over HTTP(S): the address that is really connected is the one that was checked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, RemoteDisconnected
from threading import Event, Lock, Timer
from time import monotonic
from typing import Any
from urllib.parse import urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    LocationParseError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util import Timeout, parse_url

from clip_scoring.images.addresses import Network, may_connect
from clip_scoring.images.refusal import Refused
from clip_scoring.records import Reason

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "clip-scoring"}
_BLOCK = 64 * 1024
Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """What may be fetched, and for how long; seconds and bytes."""

    allowed_networks: tuple[Network, ...] = ()
    allowed_ports: tuple[int, ...] = (80, 443)
    connect_seconds: float = 3.0
    read_seconds: float = 5.0
    total_seconds: float = 20.0
    max_redirects: int = 3


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, by the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class _Forbidden(Exception):
    """The name leads to an address that may not be connected to."""


class _NameUnknown(Exception):
    """The host name could not be resolved."""


@dataclass
class HttpFetcher:
    """Fetches one body at a time per thread over pooled connections; ignores proxy variables."""

    policy: HttpPolicy = field(default_factory=HttpPolicy)
    resolve: Resolve = resolve

    resent: int = field(default=0, init=False)
    """Requests that were sent again so far."""

    def __post_init__(self) -> None:
        self._counting = Lock()
        self._pool = urllib3.PoolManager(num_pools=50, maxsize=8, retries=False)
        self._pool.pool_classes_by_scheme = _guarded_pools(self)

    def fetch(self, uri: str, *, limit: int) -> bytes:
        """The body behind `uri`, at most `limit` bytes; raises Refused with the reason."""
        deadline = monotonic() + self.policy.total_seconds
        for _ in range(self.policy.max_redirects + 1):
            self._check_uri(uri)
            try:
                response = self._request(uri)
                try:
                    target = self._redirect_target(uri, response)
                    if target is None:
                        return _body(response, limit, deadline)
                finally:
                    response.close()
            except (HTTPError, OSError, _Forbidden, _NameUnknown) as failed:
                raise _refusal(failed) from failed
            uri = target
        raise Refused(Reason.TOO_MANY_REDIRECTS, f"more than {self.policy.max_redirects}")

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket; every address of the host is checked before any is tried."""
        try:
            addresses = self.resolve(host, port)
        except (OSError, UnicodeError) as failed:
            raise _NameUnknown(str(failed)) from failed
        if not all(may_connect(each, self.policy.allowed_networks) for each in addresses):
            raise _Forbidden
        failure: OSError = OSError("the name has no address")
        for address in addresses:
            try:
                return socket.create_connection((address, port), self.policy.connect_seconds)
            except OSError as failed:
                failure = failed
        raise failure

    def _check_uri(self, uri: str) -> None:
        if len(uri) > 2048 or any(ord(each) <= 32 or each in "\\\x7f" for each in uri):
            raise Refused(Reason.URI_INVALID, "too long, or white space or control characters")
        try:
            parsed = parse_url(uri)
        except LocationParseError as broken:
            raise Refused(Reason.URI_INVALID, "not an absolute URL") from broken
        if not parsed.host:
            raise Refused(Reason.URI_INVALID, "no host")
        if parsed.scheme not in {"http", "https"} or parsed.auth is not None:
            raise Refused(Reason.URI_FORBIDDEN, "only http and https, without user information")
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        if port not in self.policy.allowed_ports:
            raise Refused(Reason.URI_FORBIDDEN, f"port {port} is not allowed")

    def _request(self, uri: str) -> urllib3.BaseHTTPResponse:
        """One GET; a second one when a kept connection turns out to have been closed."""
        try:
            return self._send(uri)
        except ProtocolError as failed:
            if not isinstance(failed.args[-1], RemoteDisconnected | ConnectionResetError):
                raise
            with self._counting:
                self.resent += 1
            return self._send(uri)

    def _send(self, uri: str) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            "GET",
            uri,
            headers=_HEADERS,
            redirect=False,
            preload_content=False,
            decode_content=False,
            timeout=Timeout(connect=self.policy.connect_seconds, read=self.policy.read_seconds),
        )

    def _redirect_target(self, uri: str, response: urllib3.BaseHTTPResponse) -> str | None:
        location = response.headers.get("Location")
        if response.status not in _REDIRECTS or not location:
            return None
        try:
            target = urljoin(uri, location)
        except ValueError as broken:
            raise Refused(Reason.URI_INVALID, "redirect to what is no URL") from broken
        if uri.lower().startswith("https:") and not target.lower().startswith("https:"):
            raise Refused(Reason.URI_FORBIDDEN, "redirect from https to another scheme")
        return target


@contextmanager
def _headers_within(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Cut the connection when the headers take longer, however steadily they drip."""
    late = Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):  # it may have ended by itself just now
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():  # cut headers may even parse, as if the server had ended them
        raise TimeoutError("the headers took too long")


def _guarded_pools(fetcher: HttpFetcher) -> dict[str, Any]:
    """Connection pools whose sockets come from `fetcher.connect`, the only way out."""

    class Guarded(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return fetcher.connect(self._dns_host, self.port)

        def getresponse(self) -> Any:
            with _headers_within(self.sock, fetcher.policy.total_seconds):
                return super().getresponse()

    class GuardedHttps(Guarded, HTTPSConnection):
        pass

    class HttpPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Guarded

    class HttpsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = GuardedHttps

    return {"http": HttpPool, "https": HttpsPool}


def _body(response: urllib3.BaseHTTPResponse, limit: int, deadline: float) -> bytes:
    _check_status(response)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in {"", "identity"}:
        raise Refused(Reason.UNSUPPORTED_ENCODING, encoding)
    blocks, size = [], 0
    while block := response.read1(_BLOCK):
        size += len(block)
        if size > limit:
            raise Refused(Reason.IMAGE_TOO_LARGE, f"more than {limit} bytes")
        if monotonic() > deadline:
            raise Refused(Reason.TIMEOUT, "the body took too long")
        blocks.append(block)
    return b"".join(blocks)


def _check_status(response: urllib3.BaseHTTPResponse) -> None:
    status = response.status
    if status == 200:
        return
    detail = f"status {status}"
    match status:
        case 401 | 403:
            raise Refused(Reason.HTTP_401_403, detail)
        case 404 | 410:
            raise Refused(Reason.HTTP_404_410, detail)
        case 429:
            wait = response.headers.get("Retry-After", "")
            seconds = int(wait[:9]) if wait.isascii() and wait.isdigit() else 0
            raise Refused(Reason.HTTP_429, detail, retry_after=min(seconds, 86_400))
        case _ if status >= 500:
            raise Refused(Reason.HTTP_5XX, detail)
        case _:
            raise Refused(Reason.HTTP_4XX, detail)


_CONNECTION_REASONS: tuple[tuple[tuple[type[Exception], ...], Reason, str], ...] = (
    ((_Forbidden,), Reason.URI_FORBIDDEN, "the host has an address that is not public"),
    ((_NameUnknown,), Reason.DNS_FAILED, "the host name is unknown"),
    (
        (ConnectTimeoutError, ReadTimeoutError, TimeoutError),
        Reason.TIMEOUT,
        "the server was silent for too long",
    ),
    ((IncompleteRead,), Reason.BODY_TRUNCATED, "the body ended early"),
    ((LocationParseError,), Reason.URI_INVALID, "not an absolute URL"),
)


def _refusal(failed: Exception) -> Refused:
    """The reason behind an exception of the client, of a socket or of our own guard."""
    cause = failed.args[-1] if isinstance(failed, ProtocolError) and failed.args else failed
    for kinds, reason, detail in _CONNECTION_REASONS:
        if isinstance(failed, kinds) or isinstance(cause, kinds):
            return Refused(reason, detail)
    return Refused(Reason.CONNECT_FAILED, type(cause).__name__)
