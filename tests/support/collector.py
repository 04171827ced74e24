"""A stand-in for OpenTelemetry's collector: takes metrics by OTLP over HTTP, and adds them up."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from stack.postgres import HOST

Point = tuple[str, tuple[tuple[str, str], ...], int]
"""A metric, its attributes, and when the process that tells of it began."""


class Collector:
    """Listens until it is closed; each process's newest figure counts."""

    def __init__(self) -> None:
        self._newest: dict[Point, float] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportMetricsServiceRequest.FromString(body))
                answer = ExportMetricsServiceResponse().SerializeToString()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing to the terminal."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, request: Any) -> None:
        """Keep the newest value of each counter and gauge, and how many a histogram has seen."""
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    for point in getattr(metric, kind).data_points:
                        labels = {each.key: each.value.string_value for each in point.attributes}
                        key = (
                            metric.name,
                            tuple(sorted(labels.items())),
                            point.start_time_unix_nano,
                        )
                        self._newest[key] = _value(point)

    def by(self, name: str, attribute: str) -> Mapping[str, float]:
        """The sum over all processes, by the value of one attribute."""
        found: dict[str, float] = {}
        for (metric, labels, _), value in list(self._newest.items()):
            if metric == name and attribute in dict(labels):
                group = dict(labels)[attribute]
                found[group] = found.get(group, 0) + value
        return found


def _value(point: Any) -> float:
    if hasattr(point, "count"):
        return float(point.count)
    return float(getattr(point, point.WhichOneof("value")))
