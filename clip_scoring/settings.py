"""Settings of one process, from its environment, parsed once at an entry point."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clip_scoring.errors import SettingsInvalid
from clip_scoring.registrations import (
    TINY,
    Registrations,
    SourceRegistration,
    read_registrations,
)

DEFAULT_REGISTRATIONS = Path(__file__).parents[1] / "config" / "sources.yaml"


@dataclass(frozen=True, slots=True)
class S3Access:
    """An S3 endpoint and how to log in there; what is None is left to boto3's own environment."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)


def _environment_access(_: str) -> S3Access:
    return S3Access()


@dataclass(frozen=True, slots=True)
class Settings:
    """What one process needs to know about its surroundings."""

    registrations: Registrations
    database_url: str | None = None
    weights: str = TINY
    s3_access: Callable[[str], S3Access] = _environment_access
    """Access by the name of the connection that a source's registration gives."""

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        database_url: str | None = None,
        s3_access: Callable[[str], S3Access] = _environment_access,
    ) -> Settings:
        """Read `CLIP_SCORING_DATABASE_URL`, `_WEIGHTS`, `_SOURCES`; raises SettingsInvalid."""
        named = environ.get("CLIP_SCORING_SOURCES")
        return cls(
            registrations=read_registrations(Path(named)) if named else _default_registrations(),
            database_url=database_url or environ.get("CLIP_SCORING_DATABASE_URL") or None,
            weights=environ.get("CLIP_SCORING_WEIGHTS") or TINY,
            s3_access=s3_access,
        )

    def require_database_url(self) -> str:
        """The database URL, or SettingsInvalid that says where to set it."""
        if not self.database_url:
            raise SettingsInvalid(
                "set CLIP_SCORING_DATABASE_URL=postgresql://user:password@host/db"
            )
        return self.database_url

    def weights_location(self, name: str) -> str:
        """The folder behind a registered name, or behind what `CLIP_SCORING_WEIGHTS` says."""
        if name == self.weights and name not in self.registrations.weights:
            return name
        if name not in self.registrations.weights:
            known = ", ".join(self.registrations.weights)
            raise SettingsInvalid(f"weights {name!r} are not registered: {known}")
        return self.registrations.weights[name]


def _default_registrations() -> Registrations:
    """The repository's file; `clip.record` alone where only the package is installed."""
    if DEFAULT_REGISTRATIONS.exists():
        return read_registrations(DEFAULT_REGISTRATIONS)
    return Registrations({"records": SourceRegistration("records")})
