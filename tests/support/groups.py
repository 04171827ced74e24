"""Which tests one worker runs together, in which order the groups start, and which are quick."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parents[1]
AIRFLOW = "airflow"
"""The group of all modules that ask for the fixture `one_night`, which takes half a minute."""
ON_AIRFLOW = frozenset(
    {
        "airflow/test_backfills.py",
        "airflow/test_crash_points.py",
        "airflow/test_export_and_maintain.py",
        "airflow/test_messages.py",
        "airflow/test_metrics.py",
        "airflow/test_nightly.py",
        "airflow/test_orphans.py",
        "airflow/test_scheduler.py",
        "airflow/test_score_file.py",
        "browser/test_access.py",
        "browser/test_hostile_keys.py",
        "browser/test_pages.py",
        "docs/test_airflow_page.py",
    }
)
SECONDS = TESTS / "support" / "seconds.toml"
QUICK_FOLDERS = frozenset({"architecture", "contracts", "unit"})
SERVERS = frozenset({"airflow_database", "one_night", "s3_access", "server"})
"""Fixtures that no quick test asks for, itself or through others."""
UNKNOWN_S = 5.0
"""What a module that the table does not name is taken to need."""


class GroupScheduling(LoadScopeScheduling):
    """Gives each worker whole groups.

    pytest-xdist's own `loadgroup` writes the group into a test's id, which pytest 9.2 does not let
    it change.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0].removeprefix("tests/"))


def group_of(module: str) -> str:
    """The group of a module, named by its path below this folder."""
    return AIRFLOW if module in ON_AIRFLOW else module


def outside_their_group(items: Iterable[pytest.Item]) -> list[str]:
    """Modules that ask for the Airflow stack and do not stand in its group.

    A worker of their own would start a second one.
    """
    asking = {_module(item) for item in items if "one_night" in getattr(item, "fixturenames", ())}
    return sorted(asking - ON_AIRFLOW)


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests by what their groups need: no worker shall have a long one left at the end."""
    needed = _needed({_module(item) for item in items})
    items.sort(key=lambda item: -needed[group_of(_module(item))])


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


def seconds() -> dict[str, float]:
    """What modules need, by their path, where that is known."""
    return tomllib.loads(SECONDS.read_text(encoding="utf-8"))


def _needed(modules: Iterable[str]) -> Mapping[str, float]:
    """The seconds of each group, from the table of its modules."""
    table, needed = seconds(), dict[str, float]()
    for module in modules:
        group = group_of(module)
        needed[group] = needed.get(group, 0.0) + table.get(module, UNKNOWN_S)
    return needed


def _module(item: pytest.Item) -> str:
    """The path of its file below this folder, such as `unit/test_records.py`."""
    return item.path.relative_to(TESTS).as_posix()
