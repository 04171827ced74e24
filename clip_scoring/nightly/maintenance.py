"""Let go of what nobody needs any more; never of an outcome."""

from __future__ import annotations

from datetime import timedelta

from clip_scoring.database.maintenance import PostgresMaintenance
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.fields import Days
from clip_scoring.settings.problems import checked
from clip_scoring.wiring import current_database


def maintain(settings: Settings, *, retry_days: int, measure_days: int) -> dict[str, int]:
    """Mark abandoned runs, give up old retries, empty old measures; returns how many of each.

    Never deletes anything. Raises SettingsInvalid for an age outside 1..3650 days.
    """
    retries = timedelta(days=checked("retry_days", Days, retry_days, strict=True))
    measures = timedelta(days=checked("measure_days", Days, measure_days, strict=True))
    maintenance = PostgresMaintenance(current_database(settings))
    registered = list(settings.registrations.sources)
    return {
        # First, since a run under way keeps its retries from being given up.
        "runs_abandoned": maintenance.abandon_silent_runs(),
        "retries_given_up": maintenance.give_up_retries(retries, registered),
        "shards_emptied": maintenance.empty_measures(measures),
    }
