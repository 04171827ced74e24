"""Small pictures for the pages, from allowed roots and buckets; nothing from the web."""

from __future__ import annotations

import io

from PIL import Image

from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.fetcher import MAX_BYTES, Fetcher, parse_image_uri
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Record
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.registrations import SourceRegistration
from clip_scoring.wiring import objects_opener

_THUMBNAIL = Geometry(Fit.SHORTEST_EDGE, 192, 192, Image.Resampling.BICUBIC, (192, 192))
_QUALITY = 85


class NoThumbnail(Exception):
    """There is no picture of the record; the text says why."""


def has_thumbnail(record: Record) -> bool:
    """Whether a picture may be asked for: nothing is fetched from the web for a page."""
    if record.image is not None:
        return True
    try:
        scheme, _ = parse_image_uri(record.image_uri)
    except ImageRejected:
        return False
    return scheme in {"", "file", "s3"}


class Thumbnails:
    """Small pictures from allowed roots and buckets, for one event loop; nothing from the web.

    Images are decoded in a process that they may kill, exactly as for scoring.
    """

    def __init__(self, settings: Settings, registration: SourceRegistration) -> None:
        self._fetcher = Fetcher(
            http=None,
            roots=registration.image_roots,
            open_objects=objects_opener(settings, registration),
        )
        self._decoders = Decoders(
            decoder_command(_THUMBNAIL, Tier.EXACT), _THUMBNAIL.shape, count=1
        )
        self._budget = ByteBudget(2 * MAX_BYTES)

    async def picture(self, record: Record) -> bytes:
        """JPEG of the middle of the record's image, 192 × 192; raises NoThumbnail."""
        try:
            pixels = await self._decoders.decode(await self._body(record))
        except ImageRejected as refused:
            raise NoThumbnail(refused.rejection.reason) from refused
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY)
        return encoded.getvalue()

    async def close(self) -> None:
        """End processes and threads."""
        await self._fetcher.close()
        await self._decoders.close()

    async def _body(self, record: Record) -> bytes:
        if record.image is not None:
            return record.image
        async with self._budget.share() as share:
            return await self._fetcher.fetch(record.image_uri, share)
