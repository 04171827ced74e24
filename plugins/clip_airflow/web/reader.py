"""The library behind the pages, opened once for each connection that is named to it."""

from __future__ import annotations

import os
from functools import lru_cache

from clip_airflow.connections import reader_settings
from clip_airflow.web.figures import Price
from clip_scoring.errors import SettingsInvalid
from clip_scoring.nightly.pages import Pages
from clip_scoring.nightly.thumbnails import Thumbnails
from clip_scoring.settings.environment import Settings

_PRICE = "CLIP_SCORING_PRICE_PER_HOUR"


def pages() -> Pages:
    """The library that the pages read from; raises SettingsInvalid with what is to be set up."""
    return _opened(reader_settings().require_database_url())


def thumbnails(source: str) -> Thumbnails:
    """Pictures of one source's images, for the one event loop of this process."""
    return _pictures(source)


def price() -> Price | None:
    """The price of an hour of a device, if it was set."""
    given = os.environ.get(_PRICE)
    if not given:
        return None
    try:
        return Price.parse(given)
    except ValueError as wrong:
        raise SettingsInvalid(f"{_PRICE}={given!r} is not like '2.50 EUR'") from wrong


@lru_cache(maxsize=1)
def _opened(url: str) -> Pages:
    del url
    return Pages(reader_settings())


@lru_cache(maxsize=64)
def _pictures(source: str) -> Thumbnails:
    settings: Settings = reader_settings()
    return Thumbnails(settings, settings.registrations.source(source))
