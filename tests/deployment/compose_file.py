"""docker-compose.yaml as a tree, its variables by Compose's rules, and its secrets."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "docker-compose.yaml"
DOCKERFILE = REPOSITORY / "Dockerfile"
IMAGES = "CLIP_IMAGES"
VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<rule>:-|:\?)(?P<word>[^}]*))?\}|(?P<other>))"
)

TREE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = TREE["services"]


class MissingVariable(Exception):
    """A variable that the file requires is not set, or empty."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """The value after Compose's rules for `$$`, `${A}`, `${A:-word}` and `${A:?word}`."""

    def replacement(found: re.Match[str]) -> str:
        assert found["other"] is None, f"not a form that this test knows: {found.string}"
        if found["dollar"]:
            return "$"
        given = variables.get(found["name"], "")
        if found["rule"] == ":?" and not given:
            raise MissingVariable(f"{found['name']}: {found['word']}")
        return given or (found["word"] if found["rule"] == ":-" else "")

    if isinstance(value, dict):
        return {name: interpolated(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, variables) for part in value]
    return VARIABLE.sub(replacement, value) if isinstance(value, str) else value


def strings(value: Any) -> Iterator[str]:
    """Every text in a tree of mappings and lists."""
    if isinstance(value, dict):
        yield from chain.from_iterable(map(strings, value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(strings, value))
    elif isinstance(value, str):
        yield value


def used(rule: str = "") -> set[str]:
    """The variables of the file, or those of one rule."""
    found = (match for text in strings(TREE) for match in VARIABLE.finditer(text))
    return {match["name"] for match in found if match["name"] and rule in (match["rule"], "")}


def variables_of(file: Path) -> dict[str, str]:
    """What an env file without quotes and references sets."""
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def make_secrets(file: Path) -> str:
    """What `python -m stack.secrets` prints with the standard library alone."""
    command = (sys.executable, "-S", "-m", "stack.secrets", str(file))
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
