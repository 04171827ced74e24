"""Options from a file, below those of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.settings.scorer_options import ScorerChoices

_PATHS, _FLAGS = {"metrics", "report"}, {"quiet", "json_logs"}
_MEANT: dict[str, tuple[str, dict[object, object]]] = {
    "use_cuda": ("device", {True: "cuda", False: "cpu"}),
    "no_header": ("has_header", {True: False, False: True}),
}
_NAMES = (
    {each.name for each in fields(FileOptions)}
    | set(ScorerChoices.__annotations__)
    | _PATHS
    | _FLAGS
)
_ALIASES = {
    "csv_path": "path",
    "image_path": "image_root",
    "pretrained_model": "weights",
    "allow_network": "allow_networks",
    "allow_host": "allow_hosts",
    "allow_port": "allow_ports",
}
_BROKEN = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What the parser raises, some of it for values that are not what their tag says."""


def merged(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line gave, and for the rest what its `--config` says."""
    own = {name: each for name, each in given.items() if name in _NAMES and each is not None}
    return {**read_config(given["config"]), **own} if "config" in given else own


def read_config(path: Path) -> dict[str, Any]:
    """The options in a YAML file; raises SettingsInvalid with the file and the option."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as missing:
        raise SettingsInvalid(f"config {path}: {missing.strerror}") from missing
    except _BROKEN as broken:
        told = (str(broken) or type(broken).__name__).splitlines()[0]
        raise SettingsInvalid(f"config {path}: not valid YAML: {told}") from broken
    if not isinstance(tree, dict):
        raise SettingsInvalid(f"config {path}: is no mapping of options to values")
    found: dict[str, Any] = {}
    for written, value in tree.items():
        name, value = _option(path, str(written), value)  # noqa: PLW2901  # it means the same
        if name in found:
            raise SettingsInvalid(f"config {path}: {name} is given twice, the second as {written}")
        if value is not None:
            found[name] = value
    return found


def _option(path: Path, written: str, value: object) -> tuple[str, object]:
    """The option and its value in our words; None is as good as not given."""
    name = written.replace("-", "_")
    if name in _FLAGS | set(_MEANT) and not isinstance(value, bool | None):
        raise SettingsInvalid(f"config {path}: {written}: {value!r} is not true or false")
    if name in _PATHS and not (value is None or (isinstance(value, str) and value)):
        raise SettingsInvalid(f"config {path}: {written}: {value!r} is no path")
    if name in _MEANT:
        option, values = _MEANT[name]
        return option, values.get(value)
    name = _ALIASES.get(name, name)
    if name not in _NAMES:
        known = ", ".join(sorted(_NAMES | set(_ALIASES) | set(_MEANT)))
        raise SettingsInvalid(f"config {path}: unknown option {written!r}, known: {known}")
    return name, value
