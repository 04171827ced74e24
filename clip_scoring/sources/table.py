"""Records of any table or view that lies in the same database as the outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Engine, Uuid, cast, func, select

from clip_scoring.database.connection import transaction
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Record
from clip_scoring.runs import Selection, Window
from clip_scoring.settings.registrations import TablePlace
from clip_scoring.shards import PlannedRange
from clip_scoring.sources.columns import table_columns
from clip_scoring.sources.keys import key_column, warn_without_index
from clip_scoring.sources.pending import PendingRecords, RecordColumns


class PostgresSource:
    """Source over a registered table; the names come from the catalogue, never from text."""

    def __init__(self, engine: Engine, name: str, place: TablePlace) -> None:
        self.name = name
        self._engine = engine
        self._place = place
        with transaction(engine) as connection:
            columns = table_columns(connection, place.table)
            self._table = columns.table
            self._key = key_column(connection, self._table, columns.key(place.key))
        self._image_uri = columns.text("image", place.image)
        self._caption = columns.text("caption", place.caption)
        # Text and what is compared with it come from one server, whatever its encoding is.
        self._md5 = func.md5(self._image_uri.concat("\x1f").concat(self._caption))
        event_time = columns.event_time(place.event_time)
        self._columns = RecordColumns(self._table, self._key, event_time, cast(self._md5, Uuid))
        self._pending = PendingRecords(engine, name, lambda _: self._columns)

    def refresh(self, window: Window) -> None:  # noqa: ARG002  # a table needs no window
        """The table itself is the stock; warns where no index serves its keys."""
        with transaction(self._engine) as connection:
            warn_without_index(connection, self._table, self._place.key)

    def count_pending(self, selection: Selection) -> int:
        """How many records of the selection are pending."""
        return self._pending.count(selection)

    def ranges(self, selection: Selection, size: int, limit: int | None) -> Iterator[PlannedRange]:
        """Cut the pending records into consecutive ranges of `size`, in one pass over the keys."""
        return self._pending.ranges(selection, size, limit)

    def read_pending(self, selection: Selection, limit: int) -> list[Record]:
        """The first `limit` pending records of the selection in key order."""
        wanted = (
            select(self._key.value, self._image_uri, self._caption, self._md5)
            .select_from(self._table)
            .where(self._pending.condition(self._columns, selection, by_lookup=True))
            .order_by(self._key.order)
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            # Walk the key's index and stop at the limit; never sort what is left of the shard.
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
            return [Record.of_row(*row) for row in connection.execute(wanted)]

    def find(self, record_keys: Sequence[str], *, longest: int) -> Mapping[str, Record]:
        """The records of these names as they are now, without those that are gone."""
        uri, caption = (func.left(column, longest) for column in (self._image_uri, self._caption))
        wanted = select(self._key.value, uri, caption, self._md5)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.where(self._key.among(record_keys)))
            records = [Record.of_row(*row) for row in rows]
        return {record.record_key: record for record in records}

    def drain_metrics(self) -> StageMetrics:
        """Nothing beyond the time that a query takes."""
        return StageMetrics()
