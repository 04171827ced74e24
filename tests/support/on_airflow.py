"""A pytest plugin that prints which modules ask for the Airflow stack."""

from __future__ import annotations

import pytest

from tests.support.groups import TESTS


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    asking = {
        item.path.relative_to(TESTS).as_posix()
        for item in items
        if "one_night" in getattr(item, "fixturenames", ())
    }
    print("\non airflow:", *sorted(asking))
