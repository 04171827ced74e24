"""An S3 server of our own for tests, and a proxy before it that breaks what it is told to break."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from moto.server import ThreadedMotoServer

from clip_scoring.settings.environment import S3Access

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for no time at all: closing sends RST."""


@dataclass(frozen=True)
class Answer:
    """Answer with a status and an S3 error code; the server behind sees nothing."""

    status: int
    code: str


@dataclass(frozen=True)
class Cut:
    """Announce the whole body, send its first bytes, then close or reset the connection."""

    after: int
    reset: bool = False


@dataclass(frozen=True)
class Shortened:
    """Send the first bytes as if they were the whole body, and no checksum to tell."""

    length: int


@dataclass(frozen=True)
class Before:
    """Do something, then forward: for instance replace the object."""

    act: Callable[[], object]


@dataclass(frozen=True)
class Headers:
    """Forward, but answer with some headers changed, and without those that are None."""

    changed: dict[str, str | None]


Fault = Answer | Cut | Shortened | Before | Headers


@dataclass(frozen=True)
class Request:
    """What a client asked; the path with its query."""

    method: str
    path: str
    range: str | None
    if_match: str | None


@dataclass
class FaultProxy:
    """Stands before an S3 server; each request takes the next fault, None forwards it as it is."""

    target: tuple[str, int]
    faults: deque[Fault | None] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def break_next(self, *faults: Fault | None) -> None:
        """The faults of the requests to come, in their order."""
        self.faults.extend(faults)

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        """Serve on a free port of this machine."""
        server = _Server(("127.0.0.1", 0), type("_Bound", (_Exchange,), {"proxy": self}))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up when they have read enough."""


class _Exchange(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        wanted, version = self.headers.get("Range"), self.headers.get("If-Match")
        self.proxy.requests.append(Request(self.command, self.path, wanted, version))
        fault = self.proxy.faults.popleft() if self.proxy.faults else None
        match fault:
            case Answer(status, code):
                text = f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode()
                self._send(status, {"Content-Length": str(len(text))}, text)
            case Before(act):
                act()
                self._send(*self._forwarded())
            case Cut(after, reset):
                status, headers, body = self._forwarded()
                self._send(status, headers, body[:after])
                self._hang_up(reset)
            case Shortened(length):
                status, headers, body = self._forwarded()
                kept = {key: value for key, value in headers.items() if "checksum" not in key}
                self._send(status, {**kept, "Content-Length": str(length)}, body[:length])
            case Headers(changed):
                status, headers, body = self._forwarded()
                kept = {key: value for key, value in headers.items() if key not in changed}
                added = {key: value for key, value in changed.items() if value is not None}
                self._send(status, {**kept, **added}, body)
            case None:
                self._send(*self._forwarded())

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815  # the names are given

    def _forwarded(self) -> tuple[int, dict[str, str], bytes]:
        length = int(self.headers.get("Content-Length", 0))
        connection = HTTPConnection(*self.proxy.target)
        try:
            sent = self.rfile.read(length) if length else None
            connection.request(self.command, self.path, sent, dict(self.headers))
            reply: HTTPResponse = connection.getresponse()
            body = reply.read()
            headers = {k: v for k, v in reply.getheaders() if k.lower() not in _HOP_BY_HOP}
            return reply.status, {**headers, "Content-Length": str(len(body))}, body
        finally:
            connection.close()

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at `requests`."""


_HOP_BY_HOP = frozenset({"connection", "content-length", "transfer-encoding", "server", "date"})


@contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """Host and port of a server that keeps its objects in memory."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()
    finally:
        server.stop()


def access_to(url: str) -> S3Access:
    """What a test server takes: any key will do."""
    return S3Access(url, "us-east-1", "test", "test")
