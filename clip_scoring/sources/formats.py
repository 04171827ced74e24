"""The row formats by the names that a source is registered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.rows_json import JsonLinesRows
from clip_scoring.sources.rows_parquet import ParquetRows
from clip_scoring.sources.rows_tar import TarRows
from clip_scoring.sources.stored_objects import RowFormat

FORMATS: Mapping[str, Callable[[str, str], RowFormat]] = {
    "csv": CsvRows,
    "jsonl": JsonLinesRows,
    "parquet": ParquetRows,
    "webdataset": TarRows,
}
"""Each is made of the names of the image and the caption column, in this order."""
