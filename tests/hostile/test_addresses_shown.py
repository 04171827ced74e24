"""Whoever shows an address hides its login, query and payload: pages, logs, messages, errors."""

from __future__ import annotations

import asyncio
import contextlib
import html
import io
import json
import logging
import re
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast
from unittest import mock

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from starlette.requests import Request
from starlette.responses import Response

from clip_airflow.web import routes
from clip_airflow.web.templating import render
from clip_scoring import cli
from clip_scoring.cli import console, score, tables
from clip_scoring.database import connection, sink
from clip_scoring.database.connection import connect_engine
from clip_scoring.doctor.checks import _guarded
from clip_scoring.doctor.findings import CheckStatus, Finding, Findings
from clip_scoring.doctor.places import look_into_csv
from clip_scoring.errors import (
    ClipScoringError,
    DatabaseUnreachable,
    ObjectUnreadable,
    SettingsInvalid,
)
from clip_scoring.exports.outcomes import FileInputs, TableInputs, _schema
from clip_scoring.exports.places import Exported
from clip_scoring.files import file_metrics
from clip_scoring.files.reader import CsvFile, CsvRow, Dialect
from clip_scoring.files.tally import Tally
from clip_scoring.files.writer import Layout, values_of, write_parquet
from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.images.budget import ByteBudget
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.loader import ImageLoader
from clip_scoring.images.objects import S3Images
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.metrics import StageMetrics
from clip_scoring.nightly.pages import Pages
from clip_scoring.overview import RecordOutcome, RunDetail, RunProgress, ShardDetail
from clip_scoring.ports import ImageDecoders
from clip_scoring.records import Reason, Record, Rejection, Score
from clip_scoring.reporting import ReportFigures, ReportPair
from clip_scoring.reporting.page import page as report_page
from clip_scoring.run_metrics import RunMetrics
from clip_scoring.runs import RunSummary, Window
from clip_scoring.scoring import _until
from clip_scoring.settings.fields import Network
from clip_scoring.settings.problems import checked, options_of
from clip_scoring.settings.registration_file import read_registrations
from clip_scoring.settings.registrations import FilePlace
from clip_scoring.settings.scorer_options import ScorerOptions
from clip_scoring.shards import Checkpoint, Claim
from clip_scoring.sources.files import FileSource
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.s3 import S3Objects
from clip_scoring.sources.stored_objects import ObjectStore, Row, StoredObject, Survey

SECRET = "SECRET"
"""Whatever is secret below; nothing else is called so."""
ADDRESSES = [
    "ftp://user-SECRET:SECRET@h/x?sig=SECRET",
    "//SECRET:SECRET@h/x?SECRET",
    "http://user:p/SECRET@host/x.jpg",
    "s3://b/k?versionId=SECRET",
    "https://me:SECRET@host/a.jpg?X-Signature=SECRET#SECRET",
    "https://me:SE@SECRET@host:8080/a@2x.jpg?SECRET",
    "https://me:pass#SECRET@host/a.jpg",
    "SECRET:SECRET@host/x.jpg?sig=SECRET",
    "http://SECRET%40host/x",
    "http://SECRET＠host/x",
    "https://proxy/http://u:SECRET@h/x.jpg?s=SECRET",
    "https://proxy/http%3A%2F%2Fh%2Fx%3Fsig%3DSECRET",
    "http:\\\\u:SECRET@h\\x",
    "data:image/png;base64,SECRET",
]  # fmt: skip
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
REQUEST = Request({"type": "http"})
DIALECT = Dialect(",", "\n", bom=False, has_header=True)
Surface: TypeAlias = Callable[[str, Path], str]
"""Shows an address, and may write to a folder."""


def raised(work: Callable[[], object]) -> str:
    """The text of the error that it ends in."""
    with pytest.raises((ClipScoringError, ImageRejected)) as caught:
        work()
    return str(caught.value)


def page(answer: Response) -> str:
    return html.unescape(bytes(answer.body).decode())


def logged(name: str, work: Callable[[], object]) -> str:
    """What a logger of that name is message meanwhile."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        work()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return "\n".join(lines)


def printed(work: Callable[[], object]) -> str:
    """What goes to both standard streams."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        work()
    return stream.getvalue()


# The pages of the Airflow UI


def pages_of(record: Record | None, **reports: object) -> Pages:
    found = {} if record is None else {"7": record}
    return cast(
        "Pages",
        SimpleNamespace(
            reports=SimpleNamespace(scores=lambda *_: {}, **reports),
            sources=("records",),
            finds_many=lambda _: True,
            find=lambda *_: found,
        ),
    )


def run_of(uri: str) -> RunDetail:
    return RunDetail(
        id=1, run_key=uri, source="records", trigger="cli", state="failed", stalled=False,
        window_start=None, window_stop=NOON, planned=7, reserved=0, arrived=0, vanished=0,
        scored=0, rejected=0, live_scored=2, live_rejected=1, started_at=NOON, finished_at=None,
        as_of=NOON, wall_seconds=None, bottleneck=None,
        metrics=RunMetrics(failures=(f"gate: {uri}",), lowest=[("7", 0.25)], highest=[("7", 0.5)]),
        fingerprint_id=1, digest="ab12", parts={"revision": uri},
    )  # fmt: skip


def shard_of(uri: str) -> ShardDetail:
    return ShardDetail(
        number=0, start_key=uri, stop_key=f"{uri}z", offset=uri, state="open", epoch=0, tries=0,
        planned=7, scored=2, rejected=1, worker=None, device=None, leased=True,
    )  # fmt: skip


def outcome_of(detail: str) -> RecordOutcome:
    return RecordOutcome(
        digest="ab12", parts={"tier": "exact", "dtype": "float32"}, similarity=None,
        caption_truncated=None, reason="timeout", detail=detail, attempts=2, next_attempt_at=None,
        run_id=7, at=NOON,
    )  # fmt: skip


def page_of_a_pair(uri: str, _: Path) -> str:
    library = pages_of(Record(7, uri, "a bus"), outcomes=lambda *_: [])
    return page(routes.pair(REQUEST, library, "records", "7"))


def page_of_a_rejection(uri: str, _: Path) -> str:
    library = pages_of(None, outcomes=lambda *_: [outcome_of(f"from {uri} nothing came")])
    return page(routes.pair(REQUEST, library, "records", "7"))


def page_of_a_pair_in_a_broken_file(uri: str, _: Path) -> str:
    def broken(*_: object) -> Mapping[str, Record]:
        raise ObjectUnreadable(f"{uri}: not UTF-8")

    library = pages_of(None, outcomes=lambda *_: [])
    library.find = broken  # type: ignore[method-assign]
    return page(routes.pair(REQUEST, library, "records", "7"))


def pages_of_lowest_and_highest_pairs(uri: str, _: Path) -> str:
    library = pages_of(Record(7, uri, "a bus"), run=lambda _: run_of("nightly"))
    return "\n".join(
        page(routes.pairs(REQUEST, library, 1, order=order)) for order in ("lowest", "highest")
    )


def page_of_a_run(uri: str, _: Path) -> str:
    library = pages_of(
        None, run=lambda _: run_of(uri), histograms_before=lambda *_: [],
        rejections=lambda *_, **__: [], shards=lambda _: [shard_of(uri)],
    )  # fmt: skip
    return page(routes.run(REQUEST, library, 1))


def page_of_a_shard(uri: str, _: Path) -> str:
    library = pages_of(None, run=lambda _: run_of(uri), shards=lambda _: [shard_of(uri)])
    return page(routes.shard(REQUEST, library, 1, 0))


def page_of_no_run(uri: str, _: Path) -> str:
    return page(routes.by_key(REQUEST, pages_of(None, run_id=lambda _: None), uri))


def page_of_an_error(uri: str, _: Path) -> str:
    return html.unescape(render(REQUEST, "error.html", status=503, detail=f"{uri} is broken"))


# The report


def report(uri: str, _: Path) -> str:
    pair = ReportPair(uri, uri, "a bus", 0.25, None)
    figures = ReportFigures(
        title=uri, facts={"weights": f"{uri} and more"}, histogram={250: 1}, rejections={},
        throughput=[], lowest=[pair], highest=[pair], random=[pair], matrix=None,
    )  # fmt: skip
    return html.unescape(report_page(figures, {}, {}))


# Details of rejections


def detail_of_a_refusal(uri: str, _: Path) -> str:
    refused = ImageRejected(Reason.URI_INVALID, f"{uri} is nothing")
    return f"{refused} {refused!r} {refused.rejection.detail}"


async def fetched(uri: str, images: S3Images | Fetcher) -> str:
    try:
        async with ByteBudget(1 << 20).share() as share:
            if isinstance(images, Fetcher):
                await images.fetch(uri, share)
            else:
                await images.fetch(uri, share, limit=1000)
    except ImageRejected as refused:
        return f"{refused} {refused.rejection.detail}"
    finally:
        await images.close()
    raise AssertionError(f"{uri} was fetched")


def detail_of_the_fetcher(uri: str, folder: Path) -> str:
    return asyncio.run(fetched(uri, Fetcher(http=None, roots=[folder], open_objects=None)))


def detail_of_the_object_store(uri: str, _: Path) -> str:
    def get_object(**_: str) -> None:
        error = {"Error": {"Code": uri}, "ResponseMetadata": {"HTTPStatusCode": 404}}
        raise ClientError(cast("Any", error), "GetObject")

    return asyncio.run(fetched("s3://b/k", S3Images(SimpleNamespace(get_object=get_object), ["b"])))


class NoDecoders:
    """Nothing that is fetched here comes so far."""

    count, busy = 1, 0
    on_change: Callable[[], None]

    def drain_metrics(self) -> StageMetrics:
        return StageMetrics()

    async def close(self) -> None:
        pass


def detail_of_the_loader(uri: str, folder: Path) -> str:
    fetcher = Fetcher(http=None, roots=[folder], open_objects=None)
    loader = ImageLoader(fetcher, cast("ImageDecoders", NoDecoders()))
    try:
        [rejection] = loader.load([Record(1, uri, "a bus")]).images
    finally:
        loader.close()
    return f"{rejection}"


def detail_of_an_unparsable_row(uri: str, _: Path) -> str:
    return f"{Row.unparsable(1, f'{uri} is no id').parse_error}"


def detail_in_the_output(uri: str, _: Path) -> str:
    return f"{values_of(Rejection(Reason.TIMEOUT, uri))}"


# Log lines


def log_of_the_source(uri: str, _: Path) -> str:
    stored = StoredObject(uri, "1", 10, NOON)
    source = SimpleNamespace(
        name="records",
        _store=SimpleNamespace(list_objects=lambda _: [stored]),
        _manifest=SimpleNamespace(
            unknown=lambda found: found, add=lambda *_: None, reconcile=lambda *_: None
        ),
        _format=SimpleNamespace(survey=lambda *_: Survey(1, ()), names_rows=False),
    )
    window = Window(None, NOON)
    return logged(
        "clip_scoring.sources.files", lambda: FileSource.refresh(cast("FileSource", source), window)
    )


def claim_at(uri: str) -> Claim:
    return Claim(1, 1, 0, uri, f"{uri}z", Checkpoint(uri, 1))


def log_of_a_commit(uri: str, _: Path) -> str:
    engine = connect_engine("postgresql:///none")
    with (
        mock.patch.object(sink, "transaction", contextlib.nullcontext),
        mock.patch.object(sink.PostgresSink, "_write"),
    ):
        return logged(
            "clip_scoring.database.sink",
            lambda: sink.PostgresSink(engine).commit(claim_at(uri), f"{uri}a", [], StageMetrics()),
        )


def log_of_an_export(uri: str, _: Path) -> str:
    from clip_airflow import exports as airflow_exports

    operator = airflow_exports.ExportRunsOperator(task_id="export")
    context = {"params": {"run_key": "dag/run"}, "triggering_asset_events": {}}
    with (
        mock.patch("clip_scoring.nightly.exports.export_run", lambda *_, **__: Exported(uri, 1)),
        mock.patch.object(airflow_exports, "worker_settings"),
        mock.patch.object(airflow_exports.ExportRunsOperator, "log", logging.getLogger("export")),
    ):
        return logged("export", lambda: operator.execute(cast("Any", context)))


def log_lines_of_commands(uri: str, _: Path) -> str:
    record = logging.LogRecord("urllib3", logging.WARNING, "", 1, "GET %s failed", (uri,), None)
    text = json.loads(console.JsonFormat().format(record))["text"]
    return f"{console.TextFormat().format(record)} {text}"


# Messages


class FailedTask:
    """The task instance of a callback, with the XComs of its run."""

    task_id = "finish"

    def __init__(self, words: Mapping[tuple[str, str], object]) -> None:
        self._words = words
        self.pushed: dict[str, object] = {}

    def xcom_pull(self, *, task_ids: str, key: str) -> object:
        return self._words.get((task_ids, key))

    def xcom_push(self, *, key: str, value: object) -> None:
        self.pushed[key] = value


def message_of(ti: FailedTask | None, reason: str) -> str:
    from clip_airflow import notify

    dag = SimpleNamespace(dag_id="clip_scoring")
    context = {"dag": dag, "run_id": "a run", "reason": reason, "ti": ti}
    message = notify.failure_message(cast("Any", context))
    return html.unescape(f"{message.text()} {message.html()} {message.json()}")


def message_about_a_run(uri: str, _: Path) -> str:
    from clip_airflow import notify

    words = {("plan", notify.FAILURE): uri, ("finish", notify.FIGURES): {"failures": [uri]}}
    return message_of(FailedTask(words), "task_failure")


def message_without_a_task(uri: str, _: Path) -> str:
    return message_of(None, f"the DAG at {uri} is gone")


def figures_of_a_message(uri: str, _: Path) -> str:
    from clip_airflow import notify

    summary = RunSummary.of_shards([]).failed(f"gate: {uri}")
    return f"{notify.figures_of(summary)}"


def failure_in_xcom(uri: str, _: Path) -> str:
    from clip_airflow import notify, operators

    ti = FailedTask({})

    def fail() -> None:
        with operators._push_failure(cast("Any", {"ti": ti})):
            raise ObjectUnreadable(f"{uri} is damaged")

    return f"{raised(fail)} {ti.pushed[notify.FAILURE]}"


# Commands


def error_of_a_command(uri: str, _: Path) -> str:
    missing = OSError(2, "No such file", uri)
    return printed(
        lambda: cli._fail(f"{missing.filename}: {missing.strerror}", cli.ExitCode.WRONG_USE)
    )


def error_of_an_argument(uri: str, _: Path) -> str:
    def parse() -> None:
        for arguments in (["status", f"--url={uri}"], ["status", "--runs", uri], [uri]):
            with contextlib.suppress(SystemExit):
                cli.parser().parse_args(arguments)

    return printed(parse)


def tables_of_status(uri: str, _: Path) -> str:
    run = RunProgress(
        run_key=uri, source="records", trigger="cli", state="running", stalled=False, planned=1,
        reserved=0, scored=0, rejected=0, done=0, shards=1, started_at=NOON, finished_at=None,
    )  # fmt: skip
    return "\n".join([*tables.runs_table([run]), *tables.shards_table([shard_of(uri)])])


def progress(uri: str, _: Path) -> str:
    def begin() -> None:
        console.Lines(console.Stop(), as_json=False).begin(f"{uri}: columns url, caption")
        console.Lines(console.Stop(), as_json=True).begin(f"{uri}: columns url, caption")
        with console.Bar() as bar:
            bar.begin(f"{uri}: columns url, caption")

    return printed(begin).replace("\\u2026", "…")


def columns_of_a_file(uri: str, _: Path) -> str:
    file = SimpleNamespace(dialect=DIALECT, columns=["url", "caption", uri])
    return score._dialect(cast("Any", SimpleNamespace(file=file)))


def result_of_a_command(uri: str, _: Path) -> str:
    return printed(lambda: console.say(f"{uri}: 3 rows"))


def finding_of_doctor(uri: str, _: Path) -> str:
    def broken() -> Findings:
        yield Finding("exports", CheckStatus.OK, f"{uri}, may be written to")
        raise OSError(2, "No such file", uri)

    shown = [each.text for each in _guarded("disk", broken(), about="cache: ")]
    assert len(shown) == 2
    return "\n".join(shown)


def finding_about_a_file(uri: str, folder: Path) -> str:
    path = folder / "pairs.csv"
    path.write_text(f'"{uri}",b\n')
    return raised(lambda: look_into_csv(FilePlace(path)))


# Settings and the database


def wrong_options(uri: str, folder: Path) -> str:
    config = folder / "sources.yaml"
    config.write_text(
        json.dumps({"sources": {"a": {"kind": uri, "http": {"egress_proxy": uri}}, uri: {}}})
    )
    return "\n".join(
        [
            raised(lambda: options_of(ScorerOptions, {uri: 1, "egress_proxy": uri})),
            raised(lambda: checked("network", Network, uri)),
            raised(lambda: read_registrations(config)),
        ]
    )


# Readers and sources


def error_of_the_csv_reader(uri: str, folder: Path) -> str:
    path = folder / "pairs.csv"
    path.write_text(f'"{uri}",b\n')
    wanted = (["url"], [f"{uri}z"])
    return "\n".join(raised(partial(CsvFile.open, path, wanted=each)) for each in wanted)


def error_of_a_csv_source(uri: str, folder: Path) -> str:
    path = folder / "pairs.csv"
    path.write_text(f'"{uri}",caption\na,b\n')
    store = LocalFiles(path)
    return raised(lambda: CsvRows("url", "caption").survey(store, store.stored()))


def rejection_of_an_id(uri: str, folder: Path) -> str:
    path = folder / "pairs.csv"
    path.write_text(f'url,caption,id\na,b,c\na,b,"{uri}{"x" * 2000}"\n')
    store, rows = LocalFiles(path), CsvRows("url", "caption", "id")
    stored = store.stored()
    [_, row] = rows.rows(store, stored, rows.survey(store, stored), 0)
    return f"{row.parse_error}"


def error_of_an_object(uri: str, _: Path) -> str:
    store = SimpleNamespace(open=lambda *_: io.BytesIO(b"\xff\xfea\x00"))
    stored = StoredObject(uri, "1", 10, NOON)
    return raised(lambda: CsvRows("url", "caption").survey(cast("ObjectStore", store), stored))


def error_of_the_store(uri: str, _: Path) -> str:
    """A key may hold white space, and a query behind it."""
    stored = StoredObject(f"s3://b/a key {uri}", "1", 10, NOON)
    answers = [
        (404, "NoSuchKey"), (403, "AccessDenied"), (400, "InvalidRequest"), (412, "Failed"),
    ]  # fmt: skip
    failures: list[Exception] = [
        ClientError(
            cast("Any", {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}),
            "GetObject",
        )
        for status, code in answers
    ]
    failures.append(ParamValidationError(report=uri))
    return "\n".join(
        raised(partial(objects_that_fail(failure).get, stored, 0, 10)) for failure in failures
    )


def objects_that_fail(failure: Exception) -> S3Objects:
    client = SimpleNamespace(get_object=mock.Mock(side_effect=failure))
    return S3Objects(client, "b", "", (".csv",))


def error_of_an_interrupted_shard(uri: str, _: Path) -> str:
    batch = cast("Any", SimpleNamespace(stop=uri))
    return raised(lambda: next(_until(lambda: True, iter([batch]), claim_at(uri))))


SURFACES: Mapping[str, Surface] = {
    each.__name__: each
    for each in (
        page_of_a_pair, page_of_a_rejection, page_of_a_pair_in_a_broken_file,
        pages_of_lowest_and_highest_pairs, page_of_a_run, page_of_a_shard, page_of_no_run,
        page_of_an_error, report, detail_of_a_refusal, detail_of_the_object_store,
        detail_of_an_unparsable_row, detail_in_the_output, log_of_the_source, log_of_a_commit,
        log_of_an_export, log_lines_of_commands, message_about_a_run, message_without_a_task,
        figures_of_a_message, failure_in_xcom, error_of_a_command, error_of_an_argument,
        tables_of_status, progress, columns_of_a_file, result_of_a_command, finding_of_doctor,
        finding_about_a_file, wrong_options, error_of_the_csv_reader, error_of_a_csv_source,
        rejection_of_an_id, error_of_an_object, error_of_the_store,
    )
}  # fmt: skip


@pytest.mark.parametrize("surface", SURFACES)
def test_an_address_is_shown_without_its_secrets(surface: str, tmp_path: Path) -> None:
    shown = {uri: SURFACES[surface](uri, tmp_path) for uri in ADDRESSES}
    assert {uri: text for uri, text in shown.items() if SECRET in without_links(text)} == {}
    assert {uri: text for uri, text in shown.items() if "…" not in text} == {}


@pytest.mark.parametrize(
    ("surface", "says"),
    [
        (detail_of_the_fetcher, "uri_forbidden"),
        (detail_of_the_loader, "uri_forbidden|object_not_found"),
        (error_of_an_interrupted_shard, "shard 0: stopped behind its last commit"),
    ],
)
def test_these_say_what_is_wrong_and_quote_no_address(
    surface: Surface, says: str, tmp_path: Path
) -> None:
    shown = {uri: surface(uri, tmp_path) for uri in ADDRESSES}
    assert {uri: text for uri, text in shown.items() if SECRET.lower() in text.lower()} == {}
    assert all(re.search(says, text) for text in shown.values())


def without_links(text: str) -> str:
    """A page without the addresses that its links and its form lead to: they name a key."""
    return re.sub(r'(href|src|value)="[^"]*"', "", text)


@pytest.mark.parametrize("uri", ADDRESSES)
def test_metrics_hold_counts_and_no_addresses(uri: str) -> None:
    tally = Tally(lambda: 0.5)
    tally.count([Score(0.5, caption_truncated=False), Rejection(Reason.TIMEOUT, uri)], texts(uri))
    made_with = Fingerprint("a", "b", "c", "tiny", Tier.EXACT, "d", Dtype.FLOAT32)
    metrics = file_metrics.metrics_of(
        tally, StageMetrics(), fingerprint=made_with, device="cpu", machine={}
    )
    written = file_metrics.as_json(metrics) + file_metrics.as_text(metrics)
    assert '"timeout": 1' in written
    assert SECRET not in written


def texts(uri: str) -> Callable[[int], tuple[str, str, str]]:
    return lambda _: (uri, uri, "a bus")


@pytest.mark.parametrize("uri", ADDRESSES)
def test_metadata_of_an_output_hold_no_addresses_whose_columns_are_data(
    uri: str, tmp_path: Path
) -> None:
    path = tmp_path / "scored.parquet"
    layout = Layout(["url"], DIALECT, about="ab12")
    rows: list[tuple[CsvRow, Score | Rejection]] = [(CsvRow(2, [uri]), Rejection(Reason.TIMEOUT))]
    with path.open("wb") as stream:
        write_parquet(stream, rows, layout)
    table = pq.read_table(path)
    assert table["url"].to_pylist() == [uri]
    assert SECRET not in f"{pq.read_metadata(path).metadata} {table.schema.metadata}"


@pytest.mark.parametrize("inputs", [FileInputs("s", named=False), TableInputs(cast("Any", None))])
def test_exports_have_no_metadata_at_all(inputs: FileInputs | TableInputs) -> None:
    schema = _schema(inputs)
    assert (schema.metadata, [each.metadata for each in schema]) == (None, [None] * len(schema))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://user:SECRET@h/x?sig=SECRET", "//SECRET:SECRET@h/x?SECRET",
        "postgresql://user:SECRET",
        "postgresql://user:SE/CRET:SECRET", "postgresql://user:pw@SECRET@host/d",
        "postgresql://user:SECRET@host:SECRET/d",
    ],
)  # fmt: skip
def test_a_wrong_url_of_the_database_is_not_quoted(url: str) -> None:
    with pytest.raises(SettingsInvalid) as wrong:
        connect_engine(url)
    assert SECRET not in "".join(traceback.format_exception(wrong.value))


def test_a_database_that_is_away_is_named_without_its_login() -> None:
    engine = connect_engine("postgresql://user:SECRET@127.0.0.1:1/d?application_name=SECRET")
    here = "database d at 127.0.0.1:1: "
    with (
        pytest.raises(DatabaseUnreachable, match=re.escape(here)) as lost,
        connection.transaction(engine),
    ):
        pass
    assert SECRET not in str(lost.value)
