"""Short questions to the database: which one it is, and what the login may do there."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine, text

from clip_scoring.database.connection import transaction

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
    """The login's rights in schema `clip`; a standby lets nobody write."""

    reads: bool
    writes: bool
    standby: bool


def ask_server(engine: Engine) -> Server:
    """Who answers; raises DatabaseUnreachable."""
    with transaction(engine) as connection:
        asked, started = time.time(), time.monotonic()
        row = connection.execute(_SERVER).one()
        took = time.monotonic() - started
    ahead = asked + took / 2 - float(row.now)
    return Server(row.version, row.login, row.database, took, ahead)


def ask_rights(engine: Engine) -> Rights:
    """The login's rights; raises NotPermitted where it may not even look into the schema."""
    with transaction(engine) as connection:
        row = connection.execute(_RIGHTS).one()
    return Rights(row.reads, row.writes, row.standby)
