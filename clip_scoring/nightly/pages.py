"""What the pages in the Airflow UI stand on: reports, records by name, thumbnails."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from PIL import Image

from clip_scoring.database import schema
from clip_scoring.database.connection import Database, connect_engine
from clip_scoring.database.pages import PostgresPages
from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.fetcher import MAX_BYTES, Fetcher
from clip_scoring.records import Record
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.registrations import SourceRegistration, TablePlace
from clip_scoring.wiring import objects_opener, open_source

_CONNECTIONS = 4
_LONGEST_TEXT = 2000
_THUMBNAIL = Geometry(Fit.SHORTEST_EDGE, 192, 192, Image.Resampling.BICUBIC, (192, 192))
_QUALITY = 85


class Pages:
    """Reads under the rights of the connection that the settings give; writes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Database = connect_engine(settings.require_database_url(), kept=_CONNECTIONS)
        schema.require_current(self._engine)
        self.reports = PostgresPages(self._engine)
        self.sources = tuple(settings.registrations.sources)

    def finds_many(self, source: str) -> bool:
        """Whether records of the source can be looked up in number: rows of tables can."""
        registered = self._settings.registrations.sources.get(source)
        return registered is not None and isinstance(registered.place, TablePlace)

    def find(self, source: str, record_keys: Sequence[str]) -> Mapping[str, Record]:
        """The records of these names as they are now; their texts are cut to what a page shows."""
        opened = open_source(self._settings, self._engine, source)
        return opened.find(record_keys, longest=_LONGEST_TEXT)

    def registration(self, source: str) -> SourceRegistration:
        """How the source is registered; raises SettingsInvalid when it is not."""
        return self._settings.registrations.source(source)


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
        """JPEG of the middle of the record's image, 192 × 192; raises Refused with the reason."""
        pixels = await self._decoders.decode(await self._body(record))
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
