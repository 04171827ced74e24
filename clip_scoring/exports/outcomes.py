"""The outcomes of one run as a Parquet file, row group by row group, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine, Row

from clip_scoring.database.connection import query, transaction
from clip_scoring.errors import SettingsInvalid
from clip_scoring.ports import Source
from clip_scoring.runs import Run
from clip_scoring.similarity import clip_score, similarity_01

_AT_ONCE = 200
"""The number of outcomes that are read together, with the texts of their records."""
_ANY_LENGTH = 2**31 - 1
_OVER = ("succeeded", "failed")
Outcomes = Sequence[Row[Any]]
Values = tuple[object, ...]


class Inputs(Protocol):
    """The columns of an export that describe a record besides its outcome."""

    @property
    def columns(self) -> Mapping[str, str]:
        """The names of the columns and their Arrow types."""

    def of(self, connection: Connection, outcomes: Outcomes) -> Mapping[str, Values]:
        """Their values by record key, without records that are not what was scored any more."""


@dataclass(frozen=True, slots=True)
class TableInputs:
    """Address and caption of records in a table."""

    source: Source
    columns: ClassVar[Mapping[str, str]] = {"image_uri": "string", "caption": "string"}

    def of(self, _: Connection, outcomes: Outcomes) -> Mapping[str, Values]:
        """As they are now, of those that did not change since they were scored or rejected."""
        scored = {row.record_key: row.input_md5 for row in outcomes}
        records = self.source.find(list(scored), longest=_ANY_LENGTH)
        return {
            key: (record.image_uri, record.caption)
            for key, record in records.items()
            if record.input_md5 == scored[key]
        }


@dataclass(frozen=True, slots=True)
class FileInputs:
    """File and row, counted from 0, of records in files; `named` where rows have names."""

    source: str
    named: bool
    columns: ClassVar[Mapping[str, str]] = {"uri": "string", "row_number": "int64"}

    def of(self, connection: Connection, outcomes: Outcomes) -> Mapping[str, Values]:
        """As the manifest has them, whatever became of the file since."""
        asked: dict[str, object] = {
            "source": self.source, "names": [row.record_key for row in outcomes],
        }  # fmt: skip
        if self.named:
            asked["input_md5s"] = [row.input_md5 for row in outcomes]
        rows = connection.execute(query("rows_of_names" if self.named else "rows_of_keys"), asked)
        return {row.record_key: (row.uri, row.row_number) for row in rows}


@dataclass(frozen=True, slots=True)
class GroupSize:
    """When a row group is full: whichever bound is reached first."""

    rows: int = 100_000
    bytes: int = 64 * 1024 * 1024


_USUAL_SIZE = GroupSize()


def require_over(engine: Engine, run: Run) -> None:
    """Raise SettingsInvalid for a run that is not finished: its outcomes are not all there."""
    with transaction(engine) as connection:
        state = connection.execute(query("run_state"), {"run_id": run.id}).scalar_one()
    if state not in _OVER:
        raise SettingsInvalid(f"run {run.run_key} is {state}: export it once it is finished")


def write_outcomes(
    engine: Engine, run: Run, inputs: Inputs, path: Path, *, size: GroupSize = _USUAL_SIZE
) -> int:
    """Write what the run left to a new Parquet file, in one snapshot, and return the row count.

    One row group and the texts of a few records are in memory, no more. The same rows give the
    same bytes.
    """
    from pyarrow import parquet  # noqa: PLC0415  # heavy, and only this needs it

    schema, rows = _schema(inputs), 0
    with (
        transaction(engine, statement_timeout="30min") as connection,
        parquet.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '10min'")
        read = connection.execute(
            query("outcomes_of_run"),
            {"run_id": run.id},
            execution_options={"stream_results": True},  # from a cursor on the server
        )
        batches = (
            _batch(schema, run, outcomes, inputs.of(connection, outcomes))
            for outcomes in read.partitions(_AT_ONCE)
        )
        for group in _groups(batches, size):
            writer.write_table(group, row_group_size=group.num_rows)
            rows += group.num_rows
    return rows


def _schema(inputs: Inputs) -> Any:
    import pyarrow as pa  # noqa: PLC0415  # as above

    return pa.schema(
        {
            "record_key": pa.string(),
            **{name: pa.type_for_alias(kind) for name, kind in inputs.columns.items()},
            "similarity": pa.float32(),
            "clip_score": pa.float64(),
            "similarity_01": pa.float64(),
            "caption_truncated": pa.bool_(),
            "rejection_reason": pa.string(),
            "fingerprint": pa.string(),
            "run_key": pa.string(),
            "scored_at": pa.timestamp("us", tz="UTC"),
        }
    )


def _batch(schema: Any, run: Run, outcomes: Outcomes, known: Mapping[str, Values]) -> Any:
    import pyarrow as pa  # noqa: PLC0415  # as above

    count = len(outcomes)
    similarities = [row.similarity for row in outcomes]
    columns = {
        "similarity": similarities,
        "clip_score": _of_known(clip_score, similarities),
        "similarity_01": _of_known(similarity_01, similarities),
        "fingerprint": [run.fingerprint.digest] * count,
        "run_key": [run.run_key] * count,
    }
    for name in ("record_key", "caption_truncated", "rejection_reason", "scored_at"):
        columns[name] = list(map(attrgetter(name), outcomes))
    unknown = (None,) * len(schema)
    inputs = [known.get(row.record_key, unknown) for row in outcomes]
    for place, name in enumerate(name for name in schema.names if name not in columns):
        columns[name] = list(map(itemgetter(place), inputs))
    return pa.RecordBatch.from_pydict(columns, schema=schema)


def _of_known(
    figure: Callable[[float], float], similarities: Iterable[float | None]
) -> list[float | None]:
    """The figure of each similarity, None where there is none."""
    return [None if similarity is None else figure(similarity) for similarity in similarities]


def _groups(batches: Iterable[Any], size: GroupSize) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415  # as above

    batches_of_group: list[Any] = []
    rows = size_bytes = 0
    for batch in batches:
        batches_of_group.append(batch)
        rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
        if rows >= size.rows or size_bytes >= size.bytes:
            yield pa.Table.from_batches(batches_of_group)
            batches_of_group, rows, size_bytes = [], 0, 0
    if batches_of_group:
        yield pa.Table.from_batches(batches_of_group)
