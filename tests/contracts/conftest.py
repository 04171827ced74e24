"""One fixture per port: each test of a suite runs on every adapter."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from clip_scoring.sources.formats import FORMATS
from clip_scoring.sources.s3 import S3Objects
from tests.contracts import adapters
from tests.contracts.adapters import Adapter

SOURCES = (
    "memory-int", "memory-text", "table-bigint", "table-text", "table-uuid", "csv",
    "s3-csv", "s3-jsonl", "s3-parquet", "s3-webdataset",
)  # fmt: skip
_WRITERS = {
    "csv": (adapters.as_csv, ".csv"),
    "jsonl": (adapters.as_json_lines, ".jsonl"),
    "parquet": (adapters.as_parquet, ".parquet"),
    "webdataset": (adapters.as_tar, ".tar"),
}
_numbers = count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every adapter but the memory's needs PostgreSQL."""
    for item in items:
        variant = getattr(item, "callspec", None) and item.callspec.params.get("adapter", "")
        if variant and not str(variant).startswith("memory"):
            item.add_marker(pytest.mark.server)


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
    if kind == "csv":
        return adapters.csv_file(engine, tmp_path)
    return adapters.objects(engine, *_stored(request.getfixturevalue("s3_client"), variant))


def _stored(client: Any, variant: str) -> tuple[S3Objects, Any]:
    """PAIRS in three objects below the day of today, and something else beside them."""
    rows = FORMATS[variant]("url", "caption")
    write, suffix = _WRITERS[variant]
    bucket = f"contract-{next(_numbers)}"
    client.create_bucket(Bucket=bucket)
    for number, pairs in adapters.parts(adapters.PAIRS):
        key = f"pairs/{adapters.TODAY}/part-{number}{suffix}"
        client.put_object(Bucket=bucket, Key=key, Body=write(pairs))
    client.put_object(Bucket=bucket, Key=f"pairs/{adapters.TODAY}/_SUCCESS", Body=b"")
    return S3Objects(client, bucket, "pairs/{date}/", rows.suffixes), rows
