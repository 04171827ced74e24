"""What the demo prints: read from PostgreSQL by the queries of demo.sql, laid out as text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

QUERIES = Path(__file__).with_name("demo.sql")
KINDS = ("matched", "mismatched")
EXTREMES = 5
BINS = 12
BAR = 24
CAPTION_WIDTH = 70

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """The rows of every query in demo.sql, and the kind of each record of the sample."""

    run: Sequence[Row]
    totals: Sequence[Row]
    rejections: Sequence[Row]
    similarities: Sequence[Row]
    kinds: Mapping[int, str]

    def of_kind(self, kind: str) -> list[float]:
        """The similarities of the records of one kind."""
        return [
            row["similarity"] for row in self.similarities if self.kinds.get(row["key"]) == kind
        ]


def read_queries(text: str) -> dict[str, str]:
    """The statements of a file by the name in the `-- name:` line above each."""
    blocks = [block.partition("\n") for block in text.split("-- name: ")[1:]]
    return {name.strip(): statement for name, _, statement in blocks}


def read_findings(database_url: str, records: Path) -> Findings:
    """Ask the database, and read the sample's own list of what is what."""
    rows = {}
    with (
        closing(psycopg2.connect(database_url)) as connection,
        connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor,
    ):
        for name, statement in read_queries(QUERIES.read_text(encoding="utf-8")).items():
            cursor.execute(statement)
            rows[name] = cursor.fetchall()
    listed = json.loads(records.read_text(encoding="utf-8"))
    return Findings(**rows, kinds={int(entry["key"]): str(entry["kind"]) for entry in listed})


def report(findings: Findings) -> Iterator[str]:
    """The lines of the demo's result; the totals of the sample come last."""
    yield from run_lines(findings.run)
    yield from (f"  {row['records']:4d}  {row['reason']}" for row in findings.rejections)
    yield from histogram(findings)
    pairs = findings.similarities
    yield "highest similarities"
    yield from (pair_line(row) for row in pairs[:EXTREMES])
    yield "lowest similarities"
    yield from (pair_line(row) for row in pairs[-EXTREMES:])
    yield from (outcome_line(row) + f"  pending {row['pending']}" for row in findings.totals)


def outcome_line(row: Row) -> str:
    """The counts of a run, or of everything."""
    return f"planned {row['planned']}  scored {row['scored']}  rejected {row['rejected']}"


def run_lines(runs: Sequence[Row]) -> Iterator[str]:
    """What the run did, how fast, and what held it back."""
    for row in runs:
        yield f"run {printable(row['run_key'])} {row['state']}: {outcome_line(row)}"
        if row["pairs_per_second"] and row["bottleneck"]:
            yield f"{row['pairs_per_second']} pairs/s, {printable(row['bottleneck'])}"
        yield "rejected records by reason, all runs"


def histogram(findings: Findings) -> Iterator[str]:
    """How similarities spread, captions of the image beside others; each column has its scale."""
    everything = [row["similarity"] for row in findings.similarities]
    if not everything:
        return
    low, high = min(everything), max(everything)
    width = (high - low) / BINS or 1.0
    counts = [counted(findings.of_kind(kind), low, width) for kind in KINDS]
    peaks = [max(count.values(), default=1) for count in counts]
    yield f"{'similarity':>16}  {KINDS[0]:<{BAR + 4}}  {KINDS[1]}"
    for number in range(BINS - 1, -1, -1):
        left, right = (bar(c[number], peak) for c, peak in zip(counts, peaks, strict=True))
        start = low + number * width
        yield f"{start:7.3f} … {start + width:6.3f}  {left:<{BAR + 4}}  {right}".rstrip()


def counted(values: Sequence[float], low: float, width: float) -> Counter[int]:
    """How many values fall into each bin."""
    return Counter(min(int((value - low) / width), BINS - 1) for value in values)


def bar(count: int, peak: int) -> str:
    """A bar with its number, nothing for nothing."""
    return f"{'#' * max(1, round(BAR * count / peak))} {count}" if count else ""


def pair_line(row: Row) -> str:
    """One scored record on one line."""
    return f"  {row['similarity']:7.4f}  {row['key']:>4}  {printable(row['caption'])}"


def printable(text: str) -> str:
    """Text from outside on one line: what a terminal could obey is escaped, the rest is cut."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= CAPTION_WIDTH else safe[: CAPTION_WIDTH - 1] + "…"
