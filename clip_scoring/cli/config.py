"""Options from a file, below those of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.fields import FilePath, Flag
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.settings.problems import nearest, options_of, shown
from clip_scoring.settings.scorer_options import ScorerChoices
from clip_scoring.settings.yaml_files import read_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOptions:
    """Options of a configuration file other than those of files and scorers."""

    metrics: FilePath | None = None
    report: FilePath | None = None
    quiet: Flag | None = None
    json_logs: Flag | None = None
    use_cuda: Flag | None = None
    no_header: Flag | None = None


_OWN = [field.name for field in fields(CommandOptions)]
_MEANT: dict[str, tuple[str, dict[object, str | bool]]] = {
    "use_cuda": ("device", {True: "cuda", False: "cpu"}),
    "no_header": ("has_header", {True: False, False: True}),
}
_ALIASES = {
    "csv_path": "path",
    "image_path": "image_root",
    "pretrained_model": "weights",
    "allow_network": "allow_networks",
    "allow_host": "allow_hosts",
    "allow_port": "allow_ports",
}
_NAMES = {field.name for field in fields(FileOptions)} | {*ScorerChoices.__annotations__, *_OWN}
_KNOWN = sorted(_NAMES | set(_ALIASES))


def merged(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the command line, and for the rest those of its `--config`."""
    own = {name: value for name, value in given.items() if name in _NAMES and value is not None}
    return {**read_config(given["config"]), **own} if "config" in given else own


def read_config(path: Path) -> dict[str, Any]:
    """The options in a YAML file; raises SettingsInvalid with the file and each wrong option."""
    tree = read_yaml(path, about="config ") or {}
    if not isinstance(tree, dict):
        raise SettingsInvalid(f"config {path}: must be a mapping of options to values")
    try:
        return _options(tree)
    except SettingsInvalid as wrong:
        lines = str(wrong).splitlines()
        raise SettingsInvalid("\n".join(f"config {path}: {line}" for line in lines)) from wrong


def _refuse_unknown(names: Sequence[str]) -> None:
    if names:
        lines = (f"unknown option {shown(name)}{nearest(name, _KNOWN)}" for name in names)
        raise SettingsInvalid("\n".join(lines))


def _options(tree: Mapping[object, object]) -> dict[str, Any]:
    """The options in our words; None is as good as not given."""
    written = [(str(name).replace("-", "_"), value) for name, value in tree.items()]
    _refuse_unknown([name for name, _ in written if _ALIASES.get(name, name) not in _NAMES])
    options_of(CommandOptions, {name: value for name, value in written if name in _OWN})
    options: dict[str, Any] = {}
    given: set[str] = set()
    for name, value in written:
        option, values = _MEANT.get(name, (_ALIASES.get(name, name), None))
        if option in given:
            raise SettingsInvalid(f"{option} is given twice, the second as {name}")
        given.add(option)
        if value is not None:
            options[option] = value if values is None else values[value]
    return options
