"""What a person, a form or a scheduler may choose for a run, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.quality import Gates
from clip_scoring.runs import Rescore, WindowKind

Choice = TypeVar("Choice", bound=StrEnum)
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The choices of one run; `weights` and `dtype` None mean what the worker's settings say."""

    day: date
    window: WindowKind = WindowKind.UP_TO_DAY
    source: str = "records"
    weights: str | None = None
    tier: Tier = Tier.EXACT
    dtype: Dtype | None = None
    rescore: Rescore = Rescore.MISSING
    limit: int | None = None
    batch_size: int = 64
    shard_size: int = 10_000
    max_rejection_rate: float | None = None
    max_drift: float | None = None
    dry_run: bool = False

    @property
    def gates(self) -> Gates:
        """The bounds within which the run's figures must stay."""
        return Gates(self.max_rejection_rate, self.max_drift)

    @classmethod
    def of_params(cls, params: Mapping[str, object]) -> RunOptions:
        """Options from a trigger form, whose values may be strings; None takes the default.

        Raises SettingsInvalid naming the parameter, its value and what it may be.
        """
        given = {name: value for name, value in params.items() if value not in (None, "")}
        if unknown := sorted(set(given) - {each.name for each in fields(cls)}):
            raise SettingsInvalid(f"unknown parameter {unknown[0]!r}")
        if "day" not in given:
            raise SettingsInvalid("parameter day is missing")
        chosen: dict[str, Any] = {
            name: _PARSERS[name](name, value) for name, value in given.items()
        }
        return cls(**chosen)


def _day(name: str, value: object) -> date:
    try:
        day = date.fromisoformat(str(value))
    except ValueError:
        day = date.max
    # Other ISO forms parse, with any tail; the last day of all has no next midnight.
    if day == date.max or day.isoformat() != str(value):
        raise SettingsInvalid(f"parameter {name}: {value!r} is not a date YYYY-MM-DD")
    return day


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdigit():
        raise SettingsInvalid(f"parameter {name}: {value!r} is not a whole number")
    if len(str(value)) > _MOST_DIGITS:
        raise SettingsInvalid(f"parameter {name}: {value!r} has more than {_MOST_DIGITS} digits")
    return int(str(value))


def _rate(name: str, value: object) -> float:
    try:
        rate = float(str(value)) if str(value).isascii() else -1.0
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        raise SettingsInvalid(f"parameter {name}: {value!r} is not between 0 and 1")
    return rate


def _flag(name: str, value: object) -> bool:
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise SettingsInvalid(f"parameter {name}: {value!r} is not true or false")
    return known[str(value).lower()]


def _text(_: str, value: object) -> str:
    return str(value)


def _choice(name: str, value: object, kind: type[Choice]) -> Choice:
    try:
        return kind(str(value))
    except ValueError as wrong:
        known = ", ".join(kind)
        raise SettingsInvalid(f"parameter {name}: {value!r} is not one of {known}") from wrong


_PARSERS = {
    "day": _day,
    "window": lambda name, value: _choice(name, value, WindowKind),
    "source": _text,
    "weights": _text,
    "tier": lambda name, value: _choice(name, value, Tier),
    "dtype": lambda name, value: _choice(name, value, Dtype),
    "rescore": lambda name, value: _choice(name, value, Rescore),
    "limit": _whole,
    "batch_size": _whole,
    "shard_size": _whole,
    "max_rejection_rate": _rate,
    "max_drift": _rate,
    "dry_run": _flag,
}
