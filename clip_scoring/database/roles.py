"""Group roles: `clip_owner` changes the schema, `clip_worker` scores, `clip_reader` reads.

Nobody logs in as one of them: `GRANT clip_worker TO nightly` makes a login of yours a member. The
worker reads `clip.record` and writes outcomes; a table of your own that is registered as a source
needs `GRANT SELECT` on it (and `USAGE` on its schema) to `clip_worker` from its owner.
"""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Engine, text

from clip_scoring.database import schema
from clip_scoring.database.connection import transaction
from clip_scoring.errors import NotPermitted


def grant_roles(engine: Engine) -> None:
    """Create the roles where they are missing and give each exactly its rights on schema `clip`.

    Repeat it after every upgrade, which may have brought tables; safe to run twice at once.
    Whoever runs it first is a superuser, or a login with CREATEROLE that owns the database and
    what is in schema `clip`, and that becomes a member of `clip_owner`; after that any member of
    `clip_owner` may. Raises SchemaMismatch before the schema is up to date, SettingsInvalid for
    a login that may not do this.
    """
    script = files(__package__).joinpath("sql", "roles.sql").read_text()
    try:
        schema.require_current(engine)
        with transaction(engine) as connection:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended('clip.schema', 0))")
            )
            connection.exec_driver_sql(script, execution_options={"no_parameters": True})
    except NotPermitted as denied:
        raise NotPermitted(
            f"{denied}. To grant roles, use a superuser, the database's owner with CREATEROLE, or "
            "a member of clip_owner"
        ) from denied
