"""One fixture per port: each test of a suite runs on every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts import adapters
from tests.contracts.adapters import Adapter

SOURCES = ("memory-int", "memory-text", "table-bigint", "table-text", "table-uuid", "csv")


@pytest.fixture(params=SOURCES)
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    """A source over PAIRS with the sink that knows its outcomes."""
    kind, _, variant = request.param.partition("-")
    if kind == "memory":
        return adapters.memory(adapters.INTEGERS if variant == "int" else adapters.TEXTS)
    engine = request.getfixturevalue("engine")
    if kind == "table":
        keys = {"bigint": adapters.INTEGERS, "text": adapters.TEXTS, "uuid": adapters.UUIDS}
        return adapters.table(engine, variant, keys[variant])
    return adapters.csv_file(engine, tmp_path)
