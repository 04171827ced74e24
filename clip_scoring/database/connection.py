"""Connections: engines with timeouts, transactions, named queries and errors by what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, TextClause, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,  # of the pool
)
from sqlalchemy.pool import NullPool

from clip_scoring.errors import DatabaseBusy, DatabaseUnreachable, NotPermitted, SettingsInvalid

Database: TypeAlias = Engine
"""A database that was named and is connected to as it is needed."""
DATABASE_ERRORS = (SQLAlchemyError,)
"""Errors of a driver that `transaction` has no other name for."""
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_CONNECT = {
    "connect_timeout": 10,
    "application_name": "clip-scoring",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A peer that vanished without a word is noticed within a minute."""
_LIMITS = text(
    "SELECT set_config('statement_timeout', :statement, true),"
    " set_config('synchronous_commit', 'on', true),"  # what was acknowledged outlives a crash
    " set_config('lock_timeout', '20s', true),"
    " set_config('idle_in_transaction_session_timeout', '15s', true)"
)
# A worker that is stopped inside a transaction keeps its row lock until the server ends its
# session: whoever claims the shard waits longer than that.
_ROLLED_BACK = frozenset({"40001", "40P01", "55P03", "57014"})
"""serialization_failure, deadlock_detected, lock_not_available, query_canceled."""


@cache
def _queries() -> dict[str, TextClause]:
    scripts = files(__package__).joinpath("sql").iterdir()
    written = [file for file in scripts if file.name.endswith(".sql")]
    parts = [part for file in written for part in _NAME.split(file.read_text())[1:]]
    return {name: text(sql) for name, sql in zip(parts[::2], parts[1::2], strict=True)}


def query(name: str) -> TextClause:
    """The query of that name in one of the files of SQL."""
    return _queries()[name]


def connect_engine(url: str, *, kept: int = 0) -> Engine:
    """An engine for a PostgreSQL URL; connects lazily, keeps at most `kept` idle connections.

    A kept connection is tried before it is used, and replaced when the server dropped it. No error
    quotes the password, or what was written to the database. Raises SettingsInvalid for anything
    but PostgreSQL, and where a character of the password would end up in the host or the port.
    """
    if url.count("@") > 1:
        raise SettingsInvalid(
            "the database URL has more than one @: write %40 for all but the last"
        )
    pool: dict[str, Any] = {"poolclass": NullPool}
    if kept:
        pool = {"pool_size": kept, "max_overflow": 0, "pool_pre_ping": True}
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in {"postgresql", "postgres"}:
            raise SettingsInvalid(f"database URL is {parsed.get_backend_name()}, not postgresql")
        return create_engine(
            parsed.set(drivername="postgresql+psycopg2"),
            connect_args=_CONNECT,
            hide_parameters=True,
            **pool,
        )
    except (ArgumentError, NoSuchModuleError) as wrong:
        raise SettingsInvalid("the database URL is not of the form postgresql://…") from wrong
    except ValueError:
        raise SettingsInvalid(
            "the port in the database URL is not a number: in a password write %3A for : and "
            "%2F for /"
        ) from None  # the cause quotes what stands there


@contextmanager
def transaction(engine: Engine, *, statement_timeout: str = "30s") -> Iterator[Connection]:
    """One transaction with timeouts.

    Raises DatabaseUnreachable when the connection fails, DatabaseBusy when the server rolled the
    transaction back for the sake of others or for its length, NotPermitted for a missing right.
    """
    try:
        with engine.begin() as connection:
            connection.execute(_LIMITS, {"statement": statement_timeout})
            yield connection
    except TimeoutError as waited:
        raise DatabaseBusy("no connection of this process was free for 30 s") from waited
    except DBAPIError as failed:
        if _connection_lost(failed):
            raise DatabaseUnreachable(_message(engine, failed)) from failed
        if sqlstate(failed) == "42501":
            raise NotPermitted(
                f"login {engine.url.username}: {_first_line(failed)}; docs/database.md says which "
                "role it needs"
            ) from failed
        if sqlstate(failed) in _ROLLED_BACK:
            raise DatabaseBusy(_message(engine, failed)) from failed
        raise


def sqlstate(error: DBAPIError) -> str | None:
    """The five characters by which PostgreSQL names an error; None where it never answered."""
    return getattr(error.orig, "pgcode", None)


def _connection_lost(error: DBAPIError) -> bool:
    """No SQLSTATE at all, or one of: connection exceptions, server shutting down, session ended
    for idling, too many connections."""
    state = sqlstate(error)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    return state.startswith(("08", "57P")) or state in {"25P03", "25P04", "53300"}


def _message(engine: Engine, error: DBAPIError) -> str:
    url = engine.url
    return f"database {url.database} at {url.host}:{url.port or 5432}: {_first_line(error)}"


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]
