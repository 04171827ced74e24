"""Let go of what nobody needs any more; never of an outcome."""

from __future__ import annotations

from datetime import timedelta

from clip_scoring.database.maintenance import PostgresUpkeep
from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import Settings
from clip_scoring.wiring import current_database

MOST_DAYS = 3650


def maintain(settings: Settings, *, retry_days: int, measure_days: int) -> dict[str, int]:
    """Mark abandoned runs, give up old retries, empty old measures; returns how many of each.

    Never deletes anything. Raises SettingsInvalid for an age outside 1..3650 days.
    """
    for name, days in (("retry_days", retry_days), ("measure_days", measure_days)):
        if type(days) is not int or not 1 <= days <= MOST_DAYS:
            raise SettingsInvalid(f"{name}: {days!r} is not a whole number from 1 to {MOST_DAYS}")
    upkeep = PostgresUpkeep(current_database(settings))
    registered = list(settings.registrations.sources)
    return {
        "runs_abandoned": upkeep.abandon_silent_runs(),  # first: a run under way holds its retries
        "retries_given_up": upkeep.give_up_retries(timedelta(days=retry_days), registered),
        "shards_emptied": upkeep.empty_measures(timedelta(days=measure_days)),
    }
