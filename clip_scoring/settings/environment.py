"""Settings of one process, from its environment, parsed once at an entry point."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.fields import Cores
from clip_scoring.settings.problems import checked
from clip_scoring.settings.registration_file import read_registrations
from clip_scoring.settings.registrations import TINY, Registrations, SourceRegistration

# Path.expanduser raises where there is no home; workers in containers may have none.
USUAL_CACHE = Path(os.path.expanduser("~/.cache/clip-scoring"))  # noqa: PTH111
DEFAULT_REGISTRATIONS = Path(__file__).parents[2] / "config" / "sources.yaml"


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
class Compute:
    """How a worker computes; what changes a similarity stands in the fingerprint instead."""

    device: str = "auto"
    """`auto` takes a GPU where there is one, `cpu` and `cuda` insist."""
    require_gpu: bool = False
    """Refuse to score on a CPU whatever `device` finds."""
    threads: int | None = None
    """Of one process on a CPU; None means as many as there are cores for each process."""
    compiled: bool = False
    """Compile the towers with torch.compile: a minute at the start for some percent."""
    cache: Path = USUAL_CACHE
    """Where what is made of weights once is kept, for instance their int8 form."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Compute:
        """Read `CLIP_SCORING_DEVICE`, `_REQUIRE_GPU`, `_THREADS`, `_COMPILE`, `_CACHE`."""
        threads = environ.get("CLIP_SCORING_THREADS") or None
        cache = environ.get("CLIP_SCORING_CACHE")
        return cls(
            device=environ.get("CLIP_SCORING_DEVICE") or "auto",
            require_gpu=_flag(environ, "CLIP_SCORING_REQUIRE_GPU"),
            threads=None if threads is None else checked("CLIP_SCORING_THREADS", Cores, threads),
            compiled=_flag(environ, "CLIP_SCORING_COMPILE"),
            cache=Path(cache).expanduser() if cache else USUAL_CACHE,
        )


_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}


def _flag(environ: Mapping[str, str], name: str) -> bool:
    given = environ.get(name, "").lower()
    if given not in _FLAGS:
        raise SettingsInvalid(f"{name}={environ[name]!r} is neither 1 nor 0")
    return _FLAGS[given]


_USUAL_COMPUTE = Compute()


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment of one process."""

    registrations: Registrations
    database_url: str | None = None
    weights: str = TINY
    compute: Compute = _USUAL_COMPUTE
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
        """Read `CLIP_SCORING_DATABASE_URL`, `_WEIGHTS`, `_SOURCES` and how to compute.

        Raises SettingsInvalid.
        """
        named = environ.get("CLIP_SCORING_SOURCES")
        return cls(
            registrations=read_registrations(Path(named)) if named else _default_registrations(),
            database_url=database_url or environ.get("CLIP_SCORING_DATABASE_URL") or None,
            weights=environ.get("CLIP_SCORING_WEIGHTS") or TINY,
            compute=Compute.from_environment(environ),
            s3_access=s3_access,
        )

    def require_database_url(self) -> str:
        """The database URL, or SettingsInvalid that says where to set it."""
        if not self.database_url:
            raise SettingsInvalid(
                "set CLIP_SCORING_DATABASE_URL=postgresql://host/database, login and password "
                "before the host"
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
