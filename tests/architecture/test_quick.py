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
    quick = [item("unit/test_a.py", "tmp_path"), item("docs/test_b.py")]
    others = [
        item("unit/test_c.py", "tmp_path", "server"),
        item("docs/test_d.py", "one_night"),
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


def test_modules_that_ask_for_the_same_stack_are_one_group_and_the_longest_comes_first() -> None:
    marks: dict[str, str] = {}
    items = [
        item("unit/test_options.py"),
        item("airflow/test_nightly.py", "one_night"),
        item("browser/test_pages.py", "one_night"),
        item("browser/test_pages.py"),
    ]
    for each in items:
        each.add_marker = lambda mark, each=each: marks.__setitem__(str(id(each)), mark.args[0])
    small, *stack = items
    groups.arrange(items, longest_first=True)
    assert items == [*stack, small]
    assert [marks[str(id(each))] for each in items] == ["airflow"] * 3 + ["unit/test_options.py"]
