"""The values for Airflow's chart, the pod templates, and the pods that come of them."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, ValidationError  # type: ignore[import-untyped]

REPOSITORY = Path(__file__).parents[2]
KUBERNETES = REPOSITORY / "config" / "kubernetes"
SCHEMA = Path(__file__).parent / "schema" / "values.schema.yaml"
CHART = "1.22.0"
MOUNTED = "/opt/clip/config"
TEMPLATES = ("pod-template.yaml", "pod-template-gpu.yaml")
WORKER = {"name": "clip-scoring-database", "key": "worker"}
# A queue is what counts, so a DAG that has nothing to do with ours comes along.
OTHER_DAG = """
from airflow.sdk import DAG, BaseOperator

with DAG("other") as dag:
    BaseOperator(task_id="asks", queue="gpu")
    BaseOperator(task_id="plain")
    BaseOperator(task_id="own", queue="gpu", executor_config={{"pod_template_file": {own!r}}})
"""


def read(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / name).read_text())


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return read("values.yaml")  # type: ignore[no-any-return]


def configuration(values: dict[str, Any], templates: Path) -> dict[str, str]:
    """The environment that stands for the airflow.cfg which the chart writes of these values."""
    image = values["images"]["airflow"]
    chart = {
        "core": {"executor": values["executor"]},
        "kubernetes_executor": {
            "namespace": "clip",
            "worker_container_repository": image["repository"],
            "worker_container_tag": image["tag"],
        },
    }
    sections = {name: chart.get(name, {}) | values["config"].get(name, {}) for name in chart}
    return {
        f"AIRFLOW__{section}__{key}".upper(): str(value).replace(MOUNTED, str(templates))
        for section, settings in sections.items()
        for key, value in settings.items()
    }


@pytest.fixture(scope="module")
def pods(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """The pod of every task of our DAGs and of another one, by DAG and task."""
    home = tmp_path_factory.mktemp("kubernetes")
    others = home / "others"
    others.mkdir()
    own = str(KUBERNETES / "pod-template.yaml")
    (others / "other.py").write_text(OTHER_DAG.format(own=own))
    paths = {each["name"]: each["value"] for each in values["env"]}
    assert paths["PYTHONPATH"] == MOUNTED
    environment = os.environ | configuration(values, KUBERNETES)
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "PYTHONPATH": str(KUBERNETES),
    }
    program = Path(__file__).with_name("build_pods.py")
    done = subprocess.run(
        [sys.executable, program, REPOSITORY / "dags", others],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return built


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every scalar below a value, with the keys that lead to it."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, key))
    else:
        yield path, value


def as_pod(data: dict[str, Any]) -> dict[str, Any]:
    """That pod as the client knows it: unknown fields are dropped, missing ones raise."""
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    pod: dict[str, Any] = PodGenerator.serialize_pod(PodGenerator.deserialize_model_dict(data))
    return pod


def fit(values: dict[str, Any]) -> None:
    """Raise unless the chart knows these values."""
    schema = yaml.safe_load(SCHEMA.read_text())
    Draft7Validator.check_schema(schema)
    assert schema["$id"] == f"airflow-{CHART}"
    Draft7Validator(schema).validate(values)


def test_the_chart_knows_every_value(values: dict[str, Any]) -> None:
    fit(values)


@pytest.mark.parametrize(
    "path", [("scheduler",), ("scheduler", "replicas"), ("pgbouncer", "metadataPoolSize")]
)
def test_a_misspelt_value_is_refused(values: dict[str, Any], path: tuple[str, ...]) -> None:
    wrong = copy.deepcopy(values)
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[f"{path[-1]}x"] = place.pop(path[-1])
    with pytest.raises(ValidationError):
        fit(wrong)


def test_the_values_name_the_chart_the_airflow_and_the_executor(values: dict[str, Any]) -> None:
    assert f"version {CHART} " in (KUBERNETES / "values.yaml").read_text().splitlines()[0]
    assert f"`airflow` {CHART}" in SCHEMA.with_name("README.md").read_text()
    assert values["airflowVersion"] == version("apache-airflow")
    assert values["executor"] == "KubernetesExecutor"
    assert values["config"]["core"]["load_examples"] == "False"
    assert values["config"]["scheduler"]["task_instance_heartbeat_timeout"] == 90


def test_the_image_is_the_one_that_compose_builds(values: dict[str, Any]) -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
    image = values["images"]["airflow"]
    assert f"{image['repository']}:{image['tag']}" == compose["x-airflow"]["image"]


def test_every_option_of_airflow_in_the_values_exists(values: dict[str, Any]) -> None:
    from airflow.configuration import conf

    for section, settings in values["config"].items():
        for key in settings:
            assert conf.has_option(section, key), f"[{section}] {key}"


def secrets_in(value: Any) -> list[tuple[Any, ...]]:
    """Where a value holds a password: below a key that says so, or in a URL."""
    says_so = re.compile(r"(pass(word)?|secret|token)$|^(fernet|apisecret)key$", re.IGNORECASE)
    return [
        path
        for path, each in leaves(value)
        if isinstance(each, str)
        and (re.search(r"://[^/\s]*:[^/\s]*@", each) or (each and says_so.search(str(path[-1]))))
    ]


@pytest.mark.parametrize("name", ["values.yaml", *TEMPLATES])
def test_no_file_holds_a_secret(name: str) -> None:
    assert secrets_in(read(name)) == []


def test_a_secret_in_the_values_would_be_found(values: dict[str, Any]) -> None:
    wrong = copy.deepcopy(values)
    wrong["data"]["metadataConnection"]["pass"] = "x"
    wrong["fernetKey"] = "x"
    wrong["env"].append({"name": "ANY", "value": "postgresql://airflow:x@host/airflow"})
    assert len(secrets_in(wrong)) == 3


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_variable_that_may_hold_a_secret_comes_from_one(name: str) -> None:
    (container,) = read(name)["spec"]["containers"]
    secret = re.compile("CONN|URL|KEY|PASS|SECRET|TOKEN")
    found = [each for each in container["env"] if secret.search(each["name"])]
    assert [set(each["valueFrom"]) for each in found] == [{"secretKeyRef"}]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_a_pod_of_known_fields(name: str) -> None:
    assert as_pod(read(name)) == read(name)


def test_a_misspelt_or_missing_field_of_a_template_is_noticed() -> None:
    wrong = read("pod-template-gpu.yaml")
    wrong["spec"]["toleration"] = wrong["spec"].pop("tolerations")
    assert as_pod(wrong) != wrong
    del wrong["spec"]["containers"][0]["name"]
    with pytest.raises(ValueError, match="`name`"):
        as_pod(wrong)


def test_the_templates_differ_in_what_a_gpu_needs() -> None:
    plain, gpu = (read(name) for name in TEMPLATES)
    grace = [each["spec"].pop("terminationGracePeriodSeconds") for each in (plain, gpu)]
    assert grace[0] < grace[1]
    del gpu["spec"]["tolerations"]
    for each in (plain, gpu):
        del each["spec"]["containers"][0]["resources"]
    env = gpu["spec"]["containers"][0]["env"]
    env[:] = [
        each
        for each in env
        if each["name"] not in ("CLIP_SCORING_DEVICE", "CLIP_SCORING_REQUIRE_GPU")
    ]
    assert plain == gpu


@pytest.mark.parametrize("task", ["plan", "finish"])
def test_a_task_of_the_default_queue_gets_the_default_pod(
    pods: dict[str, dict[str, Any]], task: str
) -> None:
    spec = pods[f"clip_scoring.{task}"]["spec"]
    assert "tolerations" not in spec
    assert spec["terminationGracePeriodSeconds"] == 60
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize("task", ["clip_scoring.score", "other.asks"])
def test_a_task_of_the_queue_gpu_gets_a_pod_with_a_gpu(
    pods: dict[str, dict[str, Any]], task: str
) -> None:
    spec = pods[task]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert spec["terminationGracePeriodSeconds"] == 120
    env = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    assert (env["CLIP_SCORING_DEVICE"], env["CLIP_SCORING_REQUIRE_GPU"]) == ("cuda", "1")


def test_only_tasks_of_the_queue_gpu_ask_for_one(pods: dict[str, dict[str, Any]]) -> None:
    asking = {
        name
        for name, pod in pods.items()
        if "nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"]["limits"]
    }
    assert asking == {"clip_scoring.score", "other.asks"}
    assert {"clip_scoring.plan", "clip_scoring.finish", "other.plain", "other.own"} <= set(pods)


def test_every_pod_runs_our_image_once_as_an_unprivileged_user(
    pods: dict[str, dict[str, Any]], values: dict[str, Any]
) -> None:
    image = values["images"]["airflow"]
    account = values["workers"]["kubernetes"]["serviceAccount"]["name"]
    for pod in pods.values():
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert container["name"] == "base"
        assert container["image"] == f"{image['repository']}:{image['tag']}"
        assert spec["restartPolicy"] == "Never"
        assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == (
            account,
            False,
        )
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == values["uid"] == 50000
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_every_pod_has_the_workers_connection_from_the_secret(
    pods: dict[str, dict[str, Any]],
) -> None:
    for pod in pods.values():
        env = {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}
        assert env["AIRFLOW_CONN_CLIP_SCORING_DB"]["valueFrom"]["secretKeyRef"] == WORKER
        # What the executor itself adds to the template's.
        assert env["AIRFLOW_IS_K8S_EXECUTOR_POD"]["value"] == "True"


def test_every_pod_runs_its_own_task(pods: dict[str, dict[str, Any]]) -> None:
    for name, pod in pods.items():
        *command, workload = pod["spec"]["containers"][0]["args"]
        assert command == [
            *("python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string")
        ]
        task = json.loads(workload)["ti"]
        assert f"{task['dag_id']}.{task['task_id']}" == name
        assert pod["metadata"]["annotations"]["task_id"] == task["task_id"]
        assert pod["metadata"]["namespace"] == "clip"


def test_a_mapped_task_keeps_its_index(pods: dict[str, dict[str, Any]]) -> None:
    pod = pods["clip_scoring.score"]
    assert json.loads(pod["spec"]["containers"][0]["args"][-1])["ti"]["map_index"] == 3
    assert pod["metadata"]["annotations"]["map_index"] == "3"


def test_every_pod_mounts_volumes_that_it_has_at_places_of_their_own(
    pods: dict[str, dict[str, Any]], values: dict[str, Any]
) -> None:
    shared = {each["name"]: each for each in values["volumes"]}
    for pod in pods.values():
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        mounts = pod["spec"]["containers"][0]["volumeMounts"]
        assert [each["name"] for each in mounts] == list(volumes)
        assert len({each["mountPath"] for each in mounts}) == len(mounts)
        assert volumes["clip-scoring"] == shared["clip-scoring"]


def test_every_pod_is_one_of_known_fields(pods: dict[str, dict[str, Any]]) -> None:
    for pod in pods.values():
        assert as_pod(pod) == pod
