"""What is page about a failed run, and to whom, without a scheduler."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from clip_scoring.metrics import StageMetrics
from clip_scoring.runs import RunSummary
from tests.support.inboxes import Inboxes, open_inboxes

TOKEN = "a-token-of-the-webhook"
PASSWORD = "what nobody may read"
HOSTILE = "parameter window: '{{ conn.clip_scoring_db.password }}<script>' is not one of day"


class FailedTask:
    """The task instance of a callback, with the XComs of its run."""

    task_id = "finish"

    def __init__(self, **words: object) -> None:
        self.words = words

    def xcom_pull(self, *, task_ids: str, key: str) -> object:
        return self.words.get(f"{task_ids}_{key}")


def context(**words: object) -> dict[str, Any]:
    from clip_airflow.params import run_params

    return {
        "dag": SimpleNamespace(dag_id="clip_scoring"),
        "run_id": "a run",
        "reason": "task_failure",
        "ti": FailedTask(**words),
        "params": {name: param.resolve() for name, param in run_params().items()},
        "dag_run": SimpleNamespace(
            run_type="manual",
            partition_key="2026-01-03",
            run_after=datetime(2026, 5, 6, tzinfo=UTC),
        ),
    }


@pytest.fixture
def inboxes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inboxes]:
    """Both inboxes, with connections in the environment."""
    with open_inboxes(TOKEN) as inboxes:
        for each in inboxes.connections:
            parts = dict(each)
            name = f"AIRFLOW_CONN_{parts.pop('connection_id').upper()}"
            monkeypatch.setenv(name, json.dumps(parts))
        database = json.dumps({"conn_type": "postgres", "password": PASSWORD})
        monkeypatch.setenv("AIRFLOW_CONN_CLIP_SCORING_DB", database)
        yield inboxes


def test_what_somebody_typed_is_neither_rendered_nor_markup(inboxes: Inboxes) -> None:
    from clip_airflow.notify import notify_failure

    notify_failure(context(plan_failure=HOSTILE))
    [mail], [posted] = inboxes.mails, inboxes.posts
    assert posted.json["failures"] == [f"plan: {HOSTILE}"]
    assert "{{ conn.clip_scoring_db.password }}&lt;script&gt;" in mail.html()
    assert PASSWORD not in mail.html() + json.dumps(posted.json)


def test_a_channel_that_fails_is_an_error_and_stops_no_other(
    inboxes: Inboxes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from clip_airflow.notify import notify_failure

    closed = {"conn_type": "http", "host": "http://127.0.0.1:9/", "password": TOKEN}
    monkeypatch.setenv("AIRFLOW_CONN_CLIP_SCORING_WEBHOOK", json.dumps(closed))
    caplog.set_level(logging.INFO, "clip_airflow")
    notify_failure(context())
    assert len(inboxes.mails) == 1
    said = [(each.levelname, each.message) for each in caplog.records if "clip_air" in each.name]
    assert said == [
        ("ERROR", "nothing was sent to clip_scoring_webhook: ConnectionError"),
        ("INFO", "sent to clip_scoring_smtp: clip_scoring/a run failed"),
    ]
    assert TOKEN not in caplog.text


def test_a_refusal_by_the_webhook_is_an_error(
    inboxes: Inboxes, caplog: pytest.LogCaptureFixture
) -> None:
    from clip_airflow.notify import notify_failure

    inboxes.refuse()
    notify_failure(context())
    assert "nothing was sent to clip_scoring_webhook: " in caplog.text


def test_without_connections_nobody_is_told_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from clip_airflow.notify import notify_failure

    caplog.set_level(logging.INFO, "clip_airflow")
    notify_failure(context())
    said = [(each.levelname, each.message) for each in caplog.records if "clip_air" in each.name]
    assert said == [
        ("INFO", "no connection clip_scoring_webhook: nothing is sent there"),
        ("INFO", "no connection clip_scoring_smtp: nothing is sent there"),
    ]


def test_a_mail_connection_without_recipients_is_named(
    inboxes: Inboxes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from clip_airflow.notify import notify_failure

    nobody = {"conn_type": "smtp", "host": "127.0.0.1", "extra": {"from_email": "clip@example.org"}}
    monkeypatch.setenv("AIRFLOW_CONN_CLIP_SCORING_SMTP", json.dumps(nobody))
    notify_failure(context())
    assert "connection clip_scoring_smtp: `to_email` is missing in its extra" in caplog.text


def test_a_run_is_told_even_where_its_words_cannot_be_read() -> None:
    """`dag.test()` has no XComs by then, and an API server may be away."""
    from clip_airflow.notify import failure_message

    given = context()
    given["ti"].words = None
    assert failure_message(given).failures == (
        "task finish ended without a word; its log may know more",
    )


def test_errors_of_tasks_are_told_once_each_in_the_order_of_the_tasks() -> None:
    from clip_airflow.notify import failure_message

    said = context(
        plan_failure="no table", score_failure=["no weights", "no weights", "no disk"],
        finish_failure="no run",
    )  # fmt: skip
    assert failure_message(said).failures == (
        "plan: no table", "score: no weights", "score: no disk", "finish: no run",
    )  # fmt: skip


def test_the_first_twenty_of_many_failures_are_listed_and_the_rest_counted() -> None:
    from clip_airflow.notify import failure_message, figures_of

    failures = tuple(f"shard {n}: not finished" for n in range(25))
    summary = RunSummary(10, 0, 0, 6, 2, 2, failures, StageMetrics())
    shortened = failure_message(context(finish_figures=figures_of(summary)))
    assert shortened.failures == (*failures[:20], "and 5 more")
    assert (shortened.facts["planned"], shortened.facts["rejection_rate"]) == (10, 0.25)


def test_choices_that_are_invalid_and_a_run_without_a_failed_task_are_told_all_the_same() -> None:
    from clip_airflow.notify import failure_message

    given = context(plan_failure=HOSTILE)
    given["params"]["window"] = "{{ conn }}"
    assert failure_message(given).facts == {"run": "clip_scoring/a run"}
    bare = {name: given[name] for name in ("dag", "run_id", "reason")}
    assert failure_message(bare).failures == ("no task failed: task_failure",)
