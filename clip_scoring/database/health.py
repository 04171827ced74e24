"""Short questions to the database: which one it is, and what the login may do there."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine, text

from clip_scoring.database.connection import connect_engine, transaction
from clip_scoring.errors import SettingsInvalid

_SERVER = text(
    "SELECT current_setting('server_version') AS version, current_user AS login,"
    " current_database() AS database, extract(epoch FROM clock_timestamp()) AS now"
)
_RIGHTS = text(
    "SELECT has_table_privilege('clip.record', 'SELECT')"
    " AND has_table_privilege('clip.score', 'SELECT') AS reads,"
    " has_table_privilege('clip.run', 'INSERT') AND has_table_privilege('clip.shard', 'UPDATE')"
    " AND has_table_privilege('clip.score', 'INSERT')"
    " AND has_table_privilege('clip.rejection', 'DELETE') AS writes,"
    " current_setting('transaction_read_only') = 'on' AS standby"
)


@dataclass(frozen=True, slots=True)
class Server:
    """Who answered; `answer_s` is the time of one question, `ahead_s` our clock's lead."""

    version: str
    login: str
    database: str
    answer_s: float
    ahead_s: float


@dataclass(frozen=True, slots=True)
class Rights:
    """What the login may do in schema `clip`; a standby lets nobody write."""

    reads: bool
    writes: bool
    standby: bool


def engine_without_leaks(url: str) -> Engine:
    """An engine that keeps one connection, for a URL of which no error can quote the password.

    Raises SettingsInvalid where a character of the password would end up in the host or the port.
    """
    if url.count("@") > 1:
        raise SettingsInvalid(
            "the database URL has more than one @: write %40 for all but the last"
        )
    try:
        return connect_engine(url, kept=1)
    except ValueError:
        raise SettingsInvalid(
            "the port in the database URL is not a number: in a password write %3A for : and "
            "%2F for /"
        ) from None  # the cause quotes what stands there


def ask_server(engine: Engine) -> Server:
    """Who answers; raises DatabaseUnreachable."""
    with transaction(engine) as connection:
        asked, started = time.time(), time.monotonic()
        found = connection.execute(_SERVER).one()
        took = time.monotonic() - started
    ahead = asked + took / 2 - float(found.now)
    return Server(found.version, found.login, found.database, took, ahead)


def ask_rights(engine: Engine) -> Rights:
    """What the login may do; raises NotPermitted where it may not even look into the schema."""
    with transaction(engine) as connection:
        found = connection.execute(_RIGHTS).one()
    return Rights(found.reads, found.writes, found.standby)
