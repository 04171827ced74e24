"""A run that lost a shard, tripped its gate and told about it, under a real scheduler."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from clip_scoring.database.connection import connect_engine
from stack.airflow import METADATA
from stack.crew import DAG
from tests.support.inboxes import CLOSED_PORT, HOST, PATH, Inboxes, open_inboxes
from tests.support.night import Night, wait_for
from tests.support.world import World

RUN = "gate"
RUN_PATH = f"/api/v2/dags/{DAG}/dagRuns/{RUN}"
TOKEN = "a-token-of-the-webhook"
GATE = {"batch_size": 20, "limit": 80, "max_rejection_rate": 0.01}


@pytest.fixture(scope="module")
def inboxes(night: Night) -> Iterator[Inboxes]:
    """Mail server and webhook, known to Airflow as connections meanwhile."""
    with open_inboxes(TOKEN) as inboxes:
        change(night, "create", inboxes.connections)
        yield inboxes
        change(night, "delete", [each["connection_id"] for each in inboxes.connections])


def change(night: Night, action: str, connections: list[Any]) -> None:
    """Create or delete connections, all at once."""
    body = {"actions": [{"action": action, "entities": connections}]}
    assert not night.api.patch("/api/v2/connections", body)[action]["errors"]


@pytest.fixture(scope="module")
def messages(night: Night, inboxes: Inboxes) -> Inboxes:
    """What arrived about a run whose shard was claimed by somebody else in the middle of it."""
    stop = {"point": "commit returned", "times": 2, "signal": "SIGSTOP"}
    night.order({RUN: {"shard 0": stop}})
    night.trigger(RUN, **GATE)
    pid = wait_for(lambda: night.marker(RUN, "shard 0"), "stop")["pid"]
    night.world.sql("UPDATE clip.shard SET epoch = epoch + 1")
    os.kill(int(pid), signal.SIGCONT)
    assert night.ended(RUN) == "failed"
    wait_for(lambda: inboxes.mails and inboxes.posts, "messages")
    return inboxes


def tasks(night: Night) -> dict[str, tuple[str, int]]:
    """State and number of tries by task."""
    found = night.api.get(f"{RUN_PATH}/taskInstances")["task_instances"]
    return {each["task_id"]: (each["state"], each["try_number"]) for each in found}


def seconds_between_tries(night: Night) -> float:
    """From the end of the first try of the shard to the start of the second."""
    tries = night.api.get(f"{RUN_PATH}/taskInstances/score/0/tries")["task_instances"]
    first, second = sorted(tries, key=lambda each: each["try_number"])
    start, end = (datetime.fromisoformat(at) for at in (second["start_date"], first["end_date"]))
    return (start - end).total_seconds()


def test_a_lost_shard_is_tried_again_within_seconds_and_a_tripped_gate_never(
    night: Night, messages: Inboxes
) -> None:
    assert tasks(night) == {
        "plan": ("success", 1), "score": ("success", 2), "finish": ("failed", 1),
    }  # fmt: skip
    assert 10 <= seconds_between_tries(night) < 60
    night.world.check_invariants()


def test_the_webhook_gets_the_figures_of_the_failed_run_with_its_token(messages: Inboxes) -> None:
    [posted] = messages.posts
    assert (posted.path, posted.authorization) == (PATH, f"Bearer {TOKEN}")
    text, link = posted.json.pop("text"), posted.json.pop("link")
    assert posted.json == {
        "subject": f"{DAG}/{RUN} failed",
        "run": f"{DAG}/{RUN}",
        "day": "2026-01-03",
        "source": "records",
        "planned": 80,
        "scored": 73,
        "rejected": 7,
        "pending": 0,
        "rejection_rate": 0.0875,
        "failures": ["rejection rate 0.0875 above the limit 0.01"],
    }
    assert text.splitlines()[-1] == link


def test_the_mail_says_the_same_to_everybody(night: Night, messages: Inboxes) -> None:
    [mail] = messages.mails
    assert mail.to == ["night@example.org", "day@example.org"]
    assert (mail.content["From"], mail.content["Subject"]) == (
        "clip@example.org", f"{DAG}/{RUN} failed",
    )  # fmt: skip
    assert mail.html().strip().removeprefix("<pre>").removesuffix("</pre>").splitlines() == [
        f"{DAG}/{RUN} failed", "",
        f"run: {DAG}/{RUN}", "day: 2026-01-03", "source: records",
        "planned: 80", "scored: 73", "rejected: 7", "pending: 0", "rejection rate: 0.0875", "",
        "- rejection rate 0.0875 above the limit 0.01", "",
        f"{night.site.url}/clip/runs/by-key?run_key={DAG}%2F{RUN}",
    ]  # fmt: skip


@pytest.mark.parametrize(("task", "number", "name", "query"), [
    ("plan", -1, "Run", ""),
    ("score", 0, "Shard", "&shard=0"),
    ("finish", -1, "Run", ""),
])  # fmt: skip
def test_each_task_leads_to_its_page(
    night: Night, messages: Inboxes, task: str, number: int, name: str, query: str
) -> None:
    found: Any = night.api.get(f"{RUN_PATH}/taskInstances/{task}/links?map_index={number}")
    page = f"{night.site.url}/clip/runs/by-key?run_key={DAG}%2F{RUN}{query}"
    assert found["extra_links"] == {name: page}


def test_a_run_whose_last_task_was_killed_for_good_is_told_though_the_webhook_is_gone(
    night: Night, messages: Inboxes
) -> None:
    messages.mails.clear()
    gone = {**messages.connections[1], "host": f"http://{HOST}:{CLOSED_PORT}{PATH}"}
    change(night, "update", [gone])
    kill = {"point": "close: COMMIT done", "times": 1, "signal": "SIGKILL"}
    night.order({RUN: {"finish": kill}})
    clear = {"dry_run": False, "dag_run_id": RUN, "task_ids": ["finish"], "only_failed": False}
    night.api.post(f"/api/v2/dags/{DAG}/clearTaskInstances", clear)
    forbid_retries(night)
    assert night.ended(RUN) == "failed"
    assert night.marker(RUN, "finish")
    wait_for(lambda: messages.mails, "mail")
    assert "- task finish ended without a word; its log may know more" in messages.mails[0].html()
    assert len(messages.posts) == 1


def test_token_and_address_of_the_webhook_are_in_no_log(night: Night, messages: Inboxes) -> None:
    state = night.site.state
    logs = [*state.logs.rglob("*"), *(state.airflow / "logs").rglob("*")]
    text = "".join(path.read_text(errors="replace") for path in logs if path.is_file())
    assert "sent to clip_scoring_webhook" in text
    assert "nothing was sent to clip_scoring_webhook: ConnectionError" in text
    assert "Max retries exceeded with url" in text
    assert TOKEN not in text
    assert PATH not in text


def forbid_retries(night: Night) -> None:
    """As if the retries of the task that was just cleared were used up."""
    airflow = World(connect_engine(night.site.login.url(METADATA)))
    airflow.sql("UPDATE task_instance SET max_tries = 0 WHERE run_id = :run", run=RUN)
    airflow.engine.dispose()
