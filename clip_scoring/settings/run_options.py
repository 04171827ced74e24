"""Options of a run from a person, a form or a scheduler, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clip_scoring.fingerprint import Tier
from clip_scoring.quality import Gates
from clip_scoring.runs import DEFAULT_BATCH_SIZE, DEFAULT_SHARD_SIZE, Rescore, WindowKind
from clip_scoring.settings.fields import (
    BatchSize,
    Day,
    DtypeName,
    FormFlag,
    Limit,
    Rate,
    RescoreName,
    ShardSize,
    Text,
    TierName,
    WindowName,
)
from clip_scoring.settings.problems import options_of


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The choices of one run; `weights` and `dtype` None mean what the worker's settings say."""

    day: Day
    window: WindowName = WindowKind.UP_TO_DAY
    source: Text = "records"
    weights: Text | None = None
    tier: TierName = Tier.EXACT
    dtype: DtypeName | None = None
    rescore: RescoreName = Rescore.MISSING
    limit: Limit | None = None
    batch_size: BatchSize = DEFAULT_BATCH_SIZE
    shard_size: ShardSize = DEFAULT_SHARD_SIZE
    max_rejection_rate: Rate | None = None
    max_drift: Rate | None = None
    dry_run: FormFlag = False

    @property
    def gates(self) -> Gates:
        """The bounds within which the run's figures must stay."""
        return Gates(self.max_rejection_rate, self.max_drift)

    @classmethod
    def of_params(cls, params: Mapping[str, object]) -> RunOptions:
        """Options from a trigger form, whose values may be text; empty ones take the default.

        Raises SettingsInvalid with a line for each wrong parameter: its value, what it may be.
        """
        given = {name: value for name, value in params.items() if value != ""}
        return options_of(cls, given, noun="parameter")
