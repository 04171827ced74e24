"""docker-compose.yaml keeps its promises, as far as can be told without an engine."""

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docker-compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
SECRETS = (
    "CLIP_POSTGRES_PASSWORD", "CLIP_READER_PASSWORD",
    "CLIP_FERNET_KEY", "CLIP_JWT_SECRET", "CLIP_API_SECRET",
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_the_stack_refuses_to_start_without_a_secret(secret: str) -> None:
    assert f"${{{secret}:?" in TEXT
    assert f"${{{secret}:-" not in TEXT


def test_ports_are_bound_to_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_everything_that_the_image_copies_exists() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert all((REPOSITORY / each).exists() for line in copied for each in line.split())


def test_airflow_starts_only_after_both_databases_are_migrated() -> None:
    prepared = {"prepare": {"condition": "service_completed_successfully"}}
    assert {name for name, each in SERVICES.items() if each.get("depends_on") == prepared} == {
        "api-server",
        "scheduler",
        "dag-processor",
    }
    commands = " ".join(SERVICES["prepare"]["command"])
    assert "airflow db migrate" in commands
    assert "clip-scoring db upgrade" in commands
