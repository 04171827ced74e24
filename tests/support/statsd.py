"""StatsD datagrams as a page for Prometheus, named as prometheus/statsd_exporter names them.

A counter or gauge `a.b,tag=value` is `a_b{tag="value"}`, a timer `a_b_sum` in seconds and
`a_b_count`; counters of all senders add up, of gauges the latest value stays.
"""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

HOST = "127.0.0.1"
_LINE = re.compile(
    r"(?P<name>[^,:|]+)(?P<tags>(,[^=]+=[^,:|]*)*):(?P<value>[^|]+)\|(?P<kind>c|g|ms)"
)
Series = tuple[str, tuple[tuple[str, str], ...]]


class StatsdExporter:
    """Listens on a UDP port for senders and on a TCP port for Prometheus, until it is closed."""

    def __init__(self) -> None:
        self._values: dict[Series, float] = defaultdict(float)
        self._kinds: dict[str, str] = {}
        self._lock = Lock()
        self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
        self._receiver.bind((HOST, 0))
        self.port: int = self._receiver.getsockname()[1]
        """Where datagrams go."""
        self._pages = ThreadingHTTPServer((HOST, 0), self._handler())
        self.address = f"{HOST}:{self._pages.server_port}"
        """Where the page is."""
        self._threads = [Thread(target=self._receive), Thread(target=self._pages.serve_forever)]
        for each in self._threads:
            each.start()

    def close(self) -> None:
        """Stop listening."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (HOST, self.port))  # an empty datagram ends the receiver
        self._pages.shutdown()
        for each in self._threads:
            each.join()
        self._pages.server_close()
        self._receiver.close()

    def clear(self) -> None:
        """Forget everything that was received."""
        with self._lock:
            self._values.clear()

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of the name that have these labels."""
        with self._lock:
            return sum(
                value
                for (each, tags), value in self._values.items()
                if each == name and labels.items() <= dict(tags).items()
            )

    def by(self, name: str, label: str) -> dict[str, float]:
        """The series of the name, by the value of a label."""
        found: dict[str, float] = defaultdict(float)
        with self._lock:
            for (each, tags), value in self._values.items():
                if each == name:
                    found[dict(tags)[label]] += value
        return dict(found)

    def page(self) -> str:
        """All series in the text format of Prometheus."""
        with self._lock:
            series = sorted(self._values.items())
        lines, last_name = [], ""
        for (name, tags), value in series:
            if name != last_name:
                lines.append(f"# TYPE {name} {self._kinds[name]}")
                last_name = name
            labels = ",".join(f'{key}="{text}"' for key, text in tags)
            lines.append(f"{name}{{{labels}}} {value}")
        return "\n".join([*lines, ""])

    def _receive(self) -> None:
        while datagram := self._receiver.recv(65536):
            for last_name in datagram.decode().splitlines():
                self._take(last_name)

    def _take(self, last_name: str) -> None:
        found = _LINE.fullmatch(last_name)
        if found is None:
            return  # sets and samples, which nobody here sends
        name = re.sub(r"[^a-zA-Z0-9_]", "_", found["name"])
        pairs = (each.partition("=") for each in found["tags"].split(",")[1:])
        tags = tuple(sorted((key, value) for key, _, value in pairs))
        value = float(found["value"])
        with self._lock:
            if found["kind"] == "ms":
                self._add(f"{name}_sum", tags, value / 1000)
                self._add(f"{name}_count", tags, 1)
            elif found["kind"] == "c":
                self._add(name, tags, value)
            else:
                self._kinds[name] = "gauge"
                self._values[name, tags] = value

    def _add(self, name: str, tags: tuple[tuple[str, str], ...], value: float) -> None:
        self._kinds[name] = "counter"
        self._values[name, tags] += value

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        exporter = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(exporter.page().encode())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Page
