"""Images of a batch, fetched and decoded by a pool of threads, in order."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol
from urllib.parse import unquote, urlsplit

from PIL import Image

from clip_scoring.geometry import Geometry
from clip_scoring.images.decode import decode
from clip_scoring.images.local import read_below
from clip_scoring.images.refusal import Refused
from clip_scoring.measures import Measures
from clip_scoring.ports import LoadedImages, Pixels
from clip_scoring.records import Reason, Record, Rejection

MAX_BYTES = 20 * 1024 * 1024
MAX_URI_LENGTH = 4096


class Fetcher(Protocol):
    """Fetches bodies over the network."""

    resent: int
    """Requests that were sent again so far."""

    def fetch(self, uri: str, *, limit: int) -> bytes:
        """The body behind `uri`, at most `limit` bytes; raises Refused."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    image: Pixels | Rejection
    size: int
    fetch: float
    decode: float


class ImageLoader:
    """Loads images from below configured roots and over HTTP(S)."""

    def __init__(
        self, geometry: Geometry, *, roots: Sequence[Path], http: Fetcher, threads: int
    ) -> None:
        self._geometry = geometry
        self._roots = tuple(roots)
        self._http = http
        # Pillow warns of every odd file; what matters of it becomes a rejection.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="load-image")

    def load(self, records: Sequence[Record]) -> LoadedImages:
        """One entry per record, in order. A bad image is a Rejection, never an exception."""
        started, resent = monotonic(), self._http.resent
        loaded = list(self._pool.map(self._load_one, records))
        wall = monotonic() - started
        fetch = sum(each.fetch for each in loaded)
        busy = fetch + sum(each.decode for each in loaded) or 1.0
        return LoadedImages(
            [each.image for each in loaded],
            Measures(
                {"fetch": wall * fetch / busy, "decode": wall * (1 - fetch / busy)},
                {
                    "bytes": sum(each.size for each in loaded),
                    "fetch_retries": self._http.resent - resent,
                },
            ),
        )

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _load_one(self, record: Record) -> _Loaded:
        started = fetched = monotonic()
        body = b""
        try:
            body = self._fetch(record.image_uri) if record.image is None else record.image
            fetched = monotonic()
            image: Pixels | Rejection = decode(body, self._geometry)
        except Refused as refused:
            image = refused.rejection
            fetched = max(fetched, started)
        return _Loaded(image, len(body), fetched - started, monotonic() - fetched)

    def _fetch(self, uri: str) -> bytes:
        scheme, path = _located(uri)
        match scheme:
            case "http" | "https":
                return self._http.fetch(uri, limit=MAX_BYTES)
            case "file" | "":
                return read_below(self._roots, path, limit=MAX_BYTES)
            case _:
                raise Refused(Reason.URI_FORBIDDEN, f"scheme {scheme[:20]!r} is not supported")


def _located(uri: str) -> tuple[str, str]:
    """Scheme ('' for a plain path) and path of an image URI."""
    if not uri.strip():
        raise Refused(Reason.URI_INVALID, "empty")
    if len(uri) > MAX_URI_LENGTH:
        raise Refused(Reason.URI_INVALID, f"{len(uri)} characters, limit {MAX_URI_LENGTH}")
    if any(ord(each) < 32 or ord(each) == 127 or 0xD800 <= ord(each) < 0xE000 for each in uri):
        raise Refused(Reason.URI_INVALID, "control characters")
    scheme, colon, _ = uri.partition(":")
    if not colon or not scheme.isascii() or not scheme.replace("+", "").isalnum() or "/" in scheme:
        return "", uri
    if scheme.lower() != "file":
        return scheme.lower(), uri
    try:
        parts = urlsplit(uri)
    except ValueError as broken:
        raise Refused(Reason.URI_INVALID, "not a URI") from broken
    if parts.netloc not in {"", "localhost"}:
        raise Refused(Reason.URI_FORBIDDEN, "a file URI with a host")
    return "file", unquote(parts.path)
