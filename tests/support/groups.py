"""Which tests one worker runs together, in which order the groups start, and which are quick."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
STARTED_ONCE: Mapping[str, str] = {"one_night": "airflow"}
"""Fixtures that take half a minute to start, and the group of all modules that ask for one."""
SECONDS = TESTS / "support" / "seconds.toml"
QUICK_FOLDERS = frozenset({"architecture", "contracts", "docs", "unit"})
SERVERS = frozenset({"airflow_database", "one_night", "s3_access", "server"})
"""Fixtures that no quick test asks for, itself or through others."""
UNKNOWN_S = 20.0
"""What a module that the table does not name is taken to need."""


def arrange(items: list[pytest.Item], *, longest_first: bool) -> None:
    """Mark each test with its group; with workers, put the groups that need longest first."""
    groups = _groups(items)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[_module(item)]))
    if longest_first:
        needed = _needed(groups)
        items.sort(key=lambda item: -needed[groups[_module(item)]])


def split_quick(items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests of quick folders that ask for no server, and all others.

    A fixture may also ask while it runs; tests for which it does are marked `server`.
    """
    kept = [item for item in items if _is_quick(item)]
    left = [item for item in items if not _is_quick(item)]
    return kept, left


def _is_quick(item: pytest.Item) -> bool:
    """Whether it stands in a quick folder and asks for nothing that has to be started."""
    asked = SERVERS & set(getattr(item, "fixturenames", ()))
    folder = _module(item).partition("/")[0]
    return folder in QUICK_FOLDERS and not asked and item.get_closest_marker("server") is None


def _groups(items: Sequence[pytest.Item]) -> dict[str, str]:
    """The group of each module: its own, or that of the stack that one of its tests asks for."""
    groups = {_module(item): _module(item) for item in items}
    for item in items:
        for fixture in STARTED_ONCE.keys() & set(getattr(item, "fixturenames", ())):
            groups[_module(item)] = STARTED_ONCE[fixture]
    return groups


def seconds() -> dict[str, float]:
    """What modules need, by their path, where that is known."""
    return tomllib.loads(SECONDS.read_text(encoding="utf-8"))


def _needed(groups: Mapping[str, str]) -> dict[str, float]:
    """The seconds of each group, from the table of its modules."""
    table = seconds()
    needed = dict.fromkeys(groups.values(), 0.0)
    for module, group in groups.items():
        needed[group] += table.get(module, UNKNOWN_S)
    return needed


def _module(item: pytest.Item) -> str:
    """The path of its file below this folder, such as `unit/test_records.py`."""
    return item.path.relative_to(TESTS).as_posix()
