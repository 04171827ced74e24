"""What a run tells Airflow's metrics, and what Prometheus answers the dashboard of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from stack.postgres import HOST
from stack.processes import Command, start
from tests.support.night import Night, wait_for
from tests.support.ports import port_to_keep

MONITORING = Path(__file__).parents[2] / "config" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "clip-scoring.json"
OPENER = build_opener(ProxyHandler({}))  # loopback needs no proxy of the environment
STAGES = {"read", "fetch", "decode", "score", "commit", "wall"}


@pytest.fixture(scope="module", autouse=True)
def run(night: Night) -> Night:
    """One run over the sample records, in small batches of small shards."""
    night.statsd.clear()
    done = night.trigger(batch_size=4, shard_size=80)
    assert night.ended(done) == "success"
    return night


def test_counters_are_what_is_in_the_database(run: Night) -> None:
    ((scored, rejected),) = run.world.sql("SELECT scored, rejected FROM clip.run")
    by_reason = run.world.sql("SELECT reason, count(*) FROM clip.rejection GROUP BY reason")
    emitted = run.statsd
    assert emitted.value("airflow_clip_scored", source="records") == scored == 220
    assert emitted.by("airflow_clip_rejected", "reason") == dict(by_reason)
    assert sum(emitted.by("airflow_clip_rejected", "reason").values()) == rejected == 20


def test_each_stage_tells_its_seconds_for_every_batch(run: Night) -> None:
    emitted = run.statsd
    assert emitted.by("airflow_clip_stage_count", "stage") == dict.fromkeys(STAGES, 60)
    ((measured,),) = run.world.sql("SELECT metrics -> 'stage_seconds' FROM clip.run")
    assert isinstance(measured, dict)
    for stage, seconds in emitted.by("airflow_clip_stage_sum", "stage").items():
        assert seconds == pytest.approx(measured[stage], rel=0.02, abs=0.05), stage


def test_gauges_say_that_nothing_is_left(run: Night) -> None:
    emitted = run.statsd.by
    assert emitted("airflow_clip_backlog", "source") == {"records": 0}
    assert emitted("airflow_clip_queue_depth", "source") == {"records": 0}
    assert emitted("airflow_clip_batch_size", "source") == {"records": 4}
    assert emitted("airflow_clip_backoffs", "source") == {"records": 0}


def test_the_page_is_in_the_format_of_prometheus(run: Night) -> None:
    with OPENER.open(f"http://{run.statsd.address}/metrics", timeout=30) as answer:
        families = {
            each.name: each for each in text_string_to_metric_families(answer.read().decode())
        }
    for name in (
        "scored",
        "rejected",
        "stage_sum",
        "batch_size",
        "backoffs",
        "queue_depth",
        "backlog",
    ):
        assert families[f"airflow_clip_{name}"].samples, name


@pytest.fixture(scope="module")
def prometheus(run: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus with the configuration that we ship, only quicker."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus on this machine: install the package `prometheus`")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"].update(scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s")
    (job,) = [each for each in config["scrape_configs"] if each["job_name"] == "airflow"]
    job["static_configs"] = [{"targets": [run.statsd.address]}]
    config["scrape_configs"] = [job]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(MONITORING / "alerts.yaml", folder)
    listening = f"{HOST}:{port_to_keep()}"
    argv = (
        program, f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={listening}",
    )  # fmt: skip
    running = start(Command("prometheus", argv, folder / "log", folder))
    yield f"http://{listening}"
    running.stop()


def queries() -> list[str]:
    """Of every panel, with what Grafana puts into its variables."""
    tree = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in tree["panels"] for target in panel["targets"]]
    return [re.sub(r"\$__rate_interval", "5m", each.replace("$source", ".*")) for each in found]


def asked(address: str, expression: str) -> list[dict[str, object]]:
    """What Prometheus answers now; nothing while it does not listen yet, or is not ready."""
    try:
        with OPENER.open(f"{address}/api/v1/query?query={quote(expression)}", timeout=30) as answer:
            result: list[dict[str, object]] = json.load(answer)["data"]["result"]
            return result
    except HTTPError as refused:
        if refused.code == HTTPStatus.SERVICE_UNAVAILABLE:
            return []
        raise
    except URLError as unreachable:
        if isinstance(unreachable.reason, ConnectionError):
            return []
        raise


def test_every_query_of_the_dashboard_has_an_answer(prometheus: str, run: Night) -> None:
    wait_for(lambda: asked(prometheus, "airflow_clip_scored"), "first scrape", limit_s=60)
    more = run.trigger(batch_size=4, rescore="all")
    assert run.ended(more) == "success"
    wait_for(
        lambda: asked(prometheus, "airflow_clip_scored >= 440"),
        "scrape of the second run",
        limit_s=60,
    )
    for each in queries():
        answers = asked(prometheus, each)
        assert answers, each
        assert not any(answer["value"][1] == "NaN" for answer in answers), each  # type: ignore[index]


def test_every_alarm_can_be_computed_and_none_is_raised_by_a_good_run(prometheus: str) -> None:
    wait_for(lambda: asked(prometheus, "airflow_clip_scored"), "first scrape", limit_s=60)

    def judged() -> list[dict[str, str]]:
        with OPENER.open(f"{prometheus}/api/v1/rules", timeout=30) as answer:
            (group,) = json.load(answer)["data"]["groups"]
        rules: list[dict[str, str]] = group["rules"]
        return rules if all(each["health"] != "unknown" for each in rules) else []

    rules = wait_for(judged, "first judgement of the alarms", limit_s=90)
    expected = {
        each["alert"]
        for each in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    }
    assert {each["name"] for each in rules} == expected
    assert {each["health"] for each in rules} == {"ok"}
    assert {each["state"] for each in rules} == {"inactive"}


def test_panels_name_metrics_that_are_told(run: Night) -> None:
    page = run.statsd.page()
    named = {name for each in queries() for name in re.findall(r"airflow_clip_\w+", each)}
    emitted = set(re.findall(r"^airflow_clip_\w+", page, re.MULTILINE))
    assert named == emitted, "a metric without a panel, or a panel without a metric"
