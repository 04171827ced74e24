"""YAML that people write: plain values, no key twice, every error one line with the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from clip_scoring.errors import SettingsInvalid

_BROKEN = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""Errors of the parser, some of them for values that are not what their tag says."""


class _Loader(yaml.SafeLoader):
    """Refuses what a mapping says twice, and characters that no setting may hold."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in keys:
                raise _refused(f"the key {key.value!r} stands here twice", key)
            keys.add((key.tag, key.value))
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in node.value):
            raise _refused("a character that no setting may hold", node)
        return node


def read_yaml(path: Path, *, about: str = "") -> object:
    """The tree in a file; raises SettingsInvalid with `about`, the file and the line."""
    try:
        # The loader is SafeLoader with two more refusals.
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except OSError as missing:
        raise SettingsInvalid(f"{about}{path}: {missing.strerror}") from missing
    except _BROKEN as broken:
        raise SettingsInvalid(f"{about}{path}: not valid YAML: {_one_line(broken)}") from broken


def _refused(text: str, node: yaml.Node) -> ComposerError:
    return ComposerError(None, None, text, node.start_mark)


def _one_line(broken: Exception) -> str:
    mark = getattr(broken, "problem_mark", None)
    if mark is not None and isinstance(broken, yaml.MarkedYAMLError):
        return f"line {mark.line + 1}: {broken.problem}"
    return (str(broken) or type(broken).__name__).splitlines()[0]
