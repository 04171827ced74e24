"""docker-compose.yaml and the Dockerfile: what they promise, read without starting anything."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

from tests.deployment.compose_file import (
    DOCKERFILE,
    FILE,
    REPOSITORY,
    SERVICES,
    TREE,
    interpolated,
    strings,
    used,
)

MONITORING = REPOSITORY / "config" / "monitoring"
PROGRAMS = Path(sys.executable).parent
PLAIN = {"postgres", "redis", "prepare", "api-server", "scheduler", "dag-processor", "worker-cpu"}
PROFILES = {
    "gpu": {"worker-gpu"},
    "s3": {"s3"},
    "monitoring": {"statsd-exporter", "prometheus", "grafana"},
}
SECRET_SETTING = re.compile(r"(PASSWORD|SECRET|SECRET_KEY|ACCESS_KEY|FERNET_KEY|AUTH|TOKEN)$")
REQUIRED = r"\$\{CLIP_\w+:\?[^}]+\}"


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    return subprocess.run((*command, str(file)), capture_output=True, text=True, check=False)


def test_the_file_is_valid_by_the_schema_of_the_compose_specification() -> None:
    done = validated(FILE)
    assert done.returncode == 0, done.stdout


def test_the_schema_refuses_a_misspelt_key(tmp_path: Path) -> None:
    broken = tmp_path / FILE.name
    broken.write_text(FILE.read_text().replace("healthcheck:", "health_check:", 1))
    done = validated(broken)
    assert done.returncode == 1
    assert "health_check" in done.stdout


def test_the_dockerfile_is_clean() -> None:
    done = subprocess.run(
        (str(PROGRAMS / "hadolint"), str(DOCKERFILE)), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_every_image_is_pinned_by_exact_tag_or_digest() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    exact = re.compile(r"[^:@]+:(v?\d+\.\d+\.\d+[\w.-]*)(@sha256:[0-9a-f]{64})?")
    assert [image for image in images if not exact.fullmatch(image)] == []


def test_our_image_has_the_version_of_the_package() -> None:
    package = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    ours = {service["image"] for service in SERVICES.values() if "build" in service}
    assert ours == {f"{package['name']}:{package['version']}"}


def test_everything_that_the_image_copies_exists() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert copied
    assert all((REPOSITORY / each).exists() for line in copied for each in line.split())


def test_airflow_starts_only_after_everything_was_prepared() -> None:
    ours = {name for name, each in SERVICES.items() if each.get("image", "").startswith("clip-")}
    done = {"condition": "service_completed_successfully"}
    waiting = {name for name in ours if SERVICES[name]["depends_on"].get("prepare") == done}
    assert waiting == ours - {"prepare"}
    assert len(waiting) == 5


def test_every_port_is_bound_to_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []


def test_no_password_is_written_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET_SETTING.search(name):
                assert re.fullmatch(REQUIRED, value), name
    for text in strings(TREE):
        for password in re.findall(r"://[^/@\s{]*:(\S.*?)@", text):
            assert re.fullmatch(REQUIRED, password), "a password in an address"
        assert not re.search(r"requirepass (?!\$\$)", text)


def test_every_service_is_watched_restarted_and_limited() -> None:
    waits = [each.get("depends_on", {}).items() for each in SERVICES.values()]
    one_shot = {
        name
        for name, wait in chain.from_iterable(waits)
        if wait["condition"] == "service_completed_successfully"
    }
    assert one_shot == {"prepare"}
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) is (name not in one_shot), name
        assert service["restart"] == ("on-failure:5" if name in one_shot else "unless-stopped")
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys(), name
        assert ("stop_grace_period" in service) >= name.startswith("worker"), name


def test_profiles_hold_what_a_plain_start_leaves_out() -> None:
    assert {name for name, each in SERVICES.items() if "profiles" not in each} == PLAIN
    for profile, names in PROFILES.items():
        assert {n for n, each in SERVICES.items() if each.get("profiles") == [profile]} == names
    gpu = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert gpu == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


def test_nothing_waits_for_a_service_of_a_profile_that_is_off() -> None:
    for name in PLAIN:
        for other, wait in SERVICES[name].get("depends_on", {}).items():
            assert other in PLAIN or wait["required"] is False, (name, other)


@pytest.mark.parametrize(
    ("chosen", "cpu"), [({}, {"default", "gpu"}), ({"CLIP_CPU_QUEUES": "default"}, {"default"})]
)
def test_every_queue_has_a_worker_with_and_without_a_gpu(
    chosen: dict[str, str], cpu: set[str]
) -> None:
    def queues(name: str) -> set[str]:
        words = shlex.split(
            re.sub(r":\?[^}]*", "", interpolated(SERVICES[name]["command"], chosen))
        )
        return set(words[words.index("--queues") + 1].split(","))

    assert queues("worker-cpu") == cpu
    assert queues("worker-gpu") == {"gpu"}


def test_the_head_names_every_variable_and_profile() -> None:
    head = FILE.read_text().partition("\nx-service")[0]
    assert {name for name in used() | PROFILES.keys() if name not in head} == set()


def test_mounted_files_exist_and_can_be_read() -> None:
    sources = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
    }
    mounted = [REPOSITORY / source for source in sources if source.startswith("./")]
    assert len(mounted) == 5
    assert [path for path in mounted if not path.exists()] == []
    elsewhere = {source for source in sources if not source.startswith("./")}
    assert elsewhere == TREE["volumes"].keys() | {"${CLIP_IMAGES"}
    for path in MONITORING.rglob("*.yaml"):
        assert yaml.safe_load(path.read_text())
    for path in MONITORING.rglob("*.json"):
        assert json.loads(path.read_text())


def test_prometheus_grafana_and_the_store_are_told_of_services_and_folders_that_exist() -> None:
    scraped = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["scrape_configs"]
    targets = [
        target for job in scraped for part in job["static_configs"] for target in part["targets"]
    ]
    assert targets == ["statsd-exporter:9102"]
    provisioning = MONITORING / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "files.yaml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    assert f"./config/monitoring/grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    store = tomllib.loads(TREE["configs"]["garage"]["content"])
    assert store["s3_api"]["api_bind_addr"].endswith(":3900")
    assert SERVICES["s3"]["volumes"] == ["s3-data:/var/lib/garage"]
    assert not [key for key in store if "secret" in key or "token" in key]
