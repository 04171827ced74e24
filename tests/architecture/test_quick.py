"""`make quick` starts no server, and says so when a test would."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import groups


def item(module: str, *fixtures: str, marked: bool = False) -> Any:
    """What pytest collects, as far as it matters here."""
    return SimpleNamespace(
        path=groups.TESTS / module,
        fixturenames=fixtures,
        get_closest_marker=lambda name: pytest.mark.server if marked else None,
    )


def test_quick_tests_are_those_of_quick_folders_that_ask_for_no_server() -> None:
    quick = [item("unit/test_a.py", "tmp_path"), item("architecture/test_b.py")]
    others = [
        item("unit/test_c.py", "tmp_path", "server"),
        item("unit/test_d.py", "one_night"),
        item("contracts/test_e.py", marked=True),
        item("integration/test_f.py"),
    ]
    assert groups.split_quick([*quick, *others]) == (quick, others)


def test_every_quick_folder_and_every_module_of_the_table_exists() -> None:
    table = groups.seconds()
    assert table
    missing = [
        name for name in (*groups.QUICK_FOLDERS, *table) if not (groups.TESTS / name).exists()
    ]
    assert missing == []


def test_modules_on_one_stack_are_one_group_and_the_longest_group_comes_first() -> None:
    small, *stack = items = [
        item("unit/test_options.py"),
        item("airflow/test_nightly.py", "one_night"),
        item("browser/test_pages.py", "one_night"),
        item("browser/test_pages.py"),
    ]
    groups.longest_first(items)
    assert items == [*stack, small]
    scopes = [groups.group_of(module) for module in ("airflow/test_nightly.py", "unit/test_a.py")]
    assert scopes == [groups.AIRFLOW, "unit/test_a.py"]


def test_a_module_that_asks_for_the_airflow_stack_outside_its_group_is_refused() -> None:
    named = item("airflow/test_nightly.py", "night", "one_night")
    stray = item("unit/test_stray.py", "night", "one_night")
    assert groups.outside_their_group([named, stray, item("unit/test_a.py")]) == [
        "unit/test_stray.py"
    ]
