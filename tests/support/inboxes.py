"""A mail server and a webhook on this machine that keep what they are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from socketserver import StreamRequestHandler, TCPServer, ThreadingTCPServer
from threading import Thread
from typing import Any

HOST = "127.0.0.1"
CLOSED_PORT = 9
PATH = "/services/T0/B0/as-good-as-a-password"
"""Of the webhook."""


class Server(ThreadingTCPServer):
    """A server with a list of what came."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, handler: type[StreamRequestHandler]) -> None:
        super().__init__((HOST, 0), handler)
        self.received: list[Any] = []
        self.status = 204

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Smtp(StreamRequestHandler):
    """As much of RFC 5321 as one client needs that wants to get rid of a message."""

    def handle(self) -> None:
        self.answer(220)
        recipients: list[str] = []
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            match verb.upper():
                case "RCPT":
                    recipients.append(rest.partition("<")[2].partition(">")[0])
                    self.answer(250)
                case "DATA":
                    self.answer(354)
                    self.server.received.append(Mail(recipients, self.message()))  # type: ignore[attr-defined]
                    self.answer(250)
                case "QUIT":
                    self.answer(221)
                    return
                case _:
                    self.answer(250)

    def answer(self, code: int) -> None:
        self.wfile.write(b"%d said\r\n" % code)

    def message(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        found = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found


@dataclass(frozen=True)
class Mail:
    """One message and who it is for."""

    to: list[str]
    content: EmailMessage

    def html(self) -> str:
        part = self.content.get_body(("html",))
        assert part is not None
        return str(part.get_content())


class Hook(BaseHTTPRequestHandler):
    """Takes JSON that is posted."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        posted = Posted(self.path, self.headers.get("Authorization"), json.loads(body))
        self.server.received.append(posted)  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    authorization: str | None
    json: dict[str, Any]


@dataclass
class Inboxes:
    """Where messages arrive, as connections of Airflow."""

    smtp: Server
    hook: Server
    connections: list[dict[str, Any]]

    @property
    def mails(self) -> list[Mail]:
        return self.smtp.received

    @property
    def posts(self) -> list[Posted]:
        return self.hook.received

    def refuse(self) -> None:
        """From now on the webhook answers 401."""
        self.hook.status = 401


@contextmanager
def open_inboxes(token: str) -> Iterator[Inboxes]:
    """Both servers, and the connections that lead to them."""
    with Server(Smtp) as smtp, Server(Hook) as hook, serving(smtp), serving(hook):
        yield Inboxes(
            smtp,
            hook,
            [
                {
                    "connection_id": "clip_scoring_smtp",
                    "conn_type": "smtp",
                    "host": HOST,
                    "port": smtp.port,
                    "extra": json.dumps(
                        {
                            "from_email": "clip@example.org",
                            "to_email": ["night@example.org", "day@example.org"],
                            "disable_tls": True,
                            "disable_ssl": True,
                        }
                    ),
                },
                {
                    "connection_id": "clip_scoring_webhook",
                    "conn_type": "http",
                    "host": f"http://{HOST}:{hook.port}{PATH}",
                    "password": token,
                },
            ],
        )


@contextmanager
def serving(server: TCPServer) -> Iterator[None]:
    """The server answers meanwhile."""
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
