"""Settings from the environment and the registration file, parsed once at an entry point."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from clip_scoring.errors import SettingsInvalid

DEFAULT_REGISTRATIONS = Path(__file__).parents[1] / "config" / "sources.yaml"
TINY = "tiny"
CONNECTION = "clip_scoring_db"
"""The Airflow connection to the one database that holds records and outcomes."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class SourceRegistration:
    """A place that pending records may come from; a run names it, nobody types a table."""

    name: str
    table: str = "clip.record"
    key: str = "key"
    image: str = "image_uri"
    caption: str = "caption"
    event_time: str = "created_at"
    image_roots: tuple[Path, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    """Networks (CIDR) that images may be fetched from although they are not public."""
    allowed_ports: tuple[int, ...] = (80, 443)


@dataclass(frozen=True, slots=True)
class Registrations:
    """Everything that a run may name."""

    sources: Mapping[str, SourceRegistration]
    weights: Mapping[str, str] = field(default_factory=lambda: {TINY: TINY})

    def source(self, name: str) -> SourceRegistration:
        """The registered source; raises SettingsInvalid with the names that exist."""
        if name not in self.sources:
            raise SettingsInvalid(f"source {name!r} is not registered: {', '.join(self.sources)}")
        return self.sources[name]


@dataclass(frozen=True, slots=True)
class Settings:
    """What one process needs to know about its surroundings."""

    registrations: Registrations
    database_url: str | None = None
    weights: str = TINY

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, database_url: str | None = None
    ) -> Settings:
        """Read `CLIP_SCORING_DATABASE_URL`, `_WEIGHTS`, `_SOURCES`; raises SettingsInvalid."""
        named = environ.get("CLIP_SCORING_SOURCES")
        return cls(
            registrations=read_registrations(Path(named)) if named else _default_registrations(),
            database_url=database_url or environ.get("CLIP_SCORING_DATABASE_URL") or None,
            weights=environ.get("CLIP_SCORING_WEIGHTS") or TINY,
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


def read_registrations(path: Path) -> Registrations:
    """Parse and check a registration file; every error names the file and the entry."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as missing:
        raise SettingsInvalid(f"{path}: {missing.strerror}") from missing
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise SettingsInvalid(f"{path}: not valid YAML: {str(broken).splitlines()[0]}") from broken
    if (
        not isinstance(tree, dict)
        or not tree.get("sources")
        or not isinstance(tree["sources"], dict)
    ):
        raise SettingsInvalid(f"{path}: needs a mapping `sources:` with one entry per source")
    sources = {name: _source(path, name, entry) for name, entry in tree["sources"].items()}
    weights = tree.get("weights") or {}
    if not isinstance(weights, dict) or not all(
        _is_name(name) and isinstance(place, str) for name, place in weights.items()
    ):
        raise SettingsInvalid(f"{path}: `weights:` maps names to folders")
    return Registrations(sources, {TINY: TINY, **weights})


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(_NAME.fullmatch(name))


def _source(path: Path, name: object, entry: object) -> SourceRegistration:
    where = f"{path}: source {name!r}"
    if not isinstance(name, str) or not _is_name(name):
        raise SettingsInvalid(f"{where}: a name is lower case letters, digits, _ and -")
    if not isinstance(entry, dict) or entry.get("kind") != "postgres":
        raise SettingsInvalid(f"{where}: needs `kind: postgres`")
    if entry.get("connection", CONNECTION) != CONNECTION:
        raise SettingsInvalid(f"{where}: records lie in the database of connection {CONNECTION}")
    columns = entry.get("columns") or {}
    known = {"kind", "connection", "table", "columns", "image_roots", "http"}
    if surplus := sorted(set(entry) - known, key=str):
        raise SettingsInvalid(f"{where}: unknown setting {surplus[0]!r}, known: {sorted(known)}")
    if not isinstance(columns, dict) or set(columns) - {"key", "image", "caption", "event_time"}:
        raise SettingsInvalid(f"{where}: columns are key, image, caption, event_time")
    networks, ports = _http(where, entry.get("http") or {})
    return SourceRegistration(
        name=name,
        image_roots=tuple(_roots(path, where, entry.get("image_roots") or [])),
        allowed_networks=tuple(str(each) for each in networks),
        allowed_ports=(80, 443, *ports),
        **({"table": str(entry["table"])} if "table" in entry else {}),
        **{part: str(column) for part, column in columns.items()},
    )


def _http(where: str, http: Any) -> tuple[list[Any], list[int]]:
    """The allowed networks, which `parse_networks` checks, and the allowed ports."""
    if not isinstance(http, dict) or set(http) - {"allowed_networks", "allowed_ports"}:
        raise SettingsInvalid(f"{where}: http has allowed_networks and allowed_ports")
    networks, ports = http.get("allowed_networks") or [], http.get("allowed_ports") or []
    if not isinstance(networks, list):
        raise SettingsInvalid(f"{where}: allowed_networks is a list")
    if not isinstance(ports, list) or not all(type(p) is int and 0 < p < 65536 for p in ports):
        raise SettingsInvalid(f"{where}: allowed_ports is a list of numbers from 1 to 65535")
    return networks, ports


def _roots(path: Path, where: str, roots: Any) -> list[Path]:
    if not isinstance(roots, list):
        raise SettingsInvalid(f"{where}: image_roots is a list of folders")
    return [(path.parent / str(each)).resolve() for each in roots]
