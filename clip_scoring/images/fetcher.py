"""Bytes of images by their address, wherever they lie: over HTTP(S), in S3 or in a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from clip_scoring.display import address
from clip_scoring.images.budget import Share
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.local import LocalImages
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Reason

MAX_BYTES = 20 * 1024 * 1024
MAX_URI_LENGTH = 4096
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Objects(Protocol):
    """Bodies in an object store, see `S3Images`."""

    retries: int

    async def fetch(self, uri: str, share: Share, *, limit: int) -> bytes: ...

    async def close(self) -> None: ...


class Fetcher:
    """Fetches images for one event loop; what it opens, it opens at the first fetch.

    So with `open_objects`, which is None where nothing may be fetched from an object store.
    """

    def __init__(
        self,
        *,
        http: HttpFetcher | None,
        roots: Sequence[Path],
        open_objects: Callable[[], Objects] | None,
    ) -> None:
        self._http = http
        self._files = LocalImages(roots)
        self._open_objects = open_objects
        self._objects: Objects | None = None
        self._bytes = 0
        self._drained: Counter[str] = Counter()

    async def fetch(self, uri: str, share: Share) -> bytes:
        """The body behind `uri`, at most MAX_BYTES; raises ImageRejected with the reason."""
        body = await self._fetch(uri, share)
        self._bytes += len(body)
        return body

    def drain_metrics(self) -> StageMetrics:
        """Counts of fetched bytes, retries and connections since the last call."""
        counts = Counter(self._http.counts() if self._http else {})
        counts["bytes"] += self._bytes
        counts["fetch_retries"] += self._objects.retries if self._objects else 0
        since = {name: total - self._drained[name] for name, total in counts.items()}
        self._drained = counts
        return StageMetrics(counts=since)

    async def close(self) -> None:
        """Close connections and end threads; nothing can be fetched afterwards."""
        if self._http is not None:
            await self._http.close()
        if self._objects is not None:
            await self._objects.close()
        await self._files.close()

    async def _fetch(self, uri: str, share: Share) -> bytes:
        scheme, path = parse_image_uri(uri)
        match scheme:
            case "http" | "https" if self._http is not None:
                return await self._http.fetch(uri, share, limit=MAX_BYTES)
            case "http" | "https":
                raise ImageRejected(Reason.URI_FORBIDDEN, "nothing is fetched from the web here")
            case "s3" if self._open_objects is not None:
                self._objects = self._objects or self._open_objects()
                return await self._objects.fetch(uri, share, limit=MAX_BYTES)
            case "s3":
                raise ImageRejected(Reason.URI_FORBIDDEN, "the source has no image_buckets")
            case "file" | "":
                return await self._files.fetch(path, share, limit=MAX_BYTES)
        raise ImageRejected(Reason.URI_FORBIDDEN, f"{_shown(scheme, uri)} is not supported")


def _shown(scheme: str, uri: str) -> str:
    """The text before the first colon, unless it is a part of a login."""
    is_scheme = address(uri).lower().startswith(f"{scheme}:")
    return f"scheme {scheme[:20]!r}" if is_scheme else "an address without a scheme"


def parse_image_uri(uri: str) -> tuple[str, str]:
    """Scheme ('' for a plain path) and path of an image URI; raises ImageRejected."""
    if not uri.strip():
        raise ImageRejected(Reason.URI_INVALID, "empty")
    if len(uri) > MAX_URI_LENGTH:
        raise ImageRejected(Reason.URI_INVALID, f"{len(uri)} characters, limit {MAX_URI_LENGTH}")
    if _CONTROL.search(uri):
        raise ImageRejected(Reason.URI_INVALID, "control characters")
    scheme, colon, _ = uri.partition(":")
    if not colon or not scheme.isascii() or not scheme.replace("+", "").isalnum():
        return "", uri
    if scheme.lower() != "file":
        return scheme.lower(), uri
    try:
        parts = urlsplit(uri)
    except ValueError as broken:
        raise ImageRejected(Reason.URI_INVALID, "not a URI") from broken
    if parts.netloc not in {"", "localhost"}:
        raise ImageRejected(Reason.URI_FORBIDDEN, "a file URI with a host")
    return "file", unquote(parts.path)
