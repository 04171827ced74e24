"""`clip-scoring doctor` over real servers: a fault is a line with its remedy, and exit code 2."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import torch
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from clip_scoring.cli import main
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.database import health
from clip_scoring.database.roles import grant_roles
from clip_scoring.settings.environment import S3Access
from stack.postgres import PostgresServer
from tests.support.s3 import Answer, FaultProxy
from tests.support.world import World

TINY = Path(__file__).parents[2] / "clip_scoring/models/tiny"
_numbers = count(1)


@dataclass(frozen=True)
class Examined:
    """What the command printed, and its exit code."""

    code: int
    findings: list[dict[str, str]]
    printed: str

    def all(self, name: str) -> list[dict[str, str]]:
        return [each for each in self.findings if each["name"] == name]

    def one(self, name: str) -> dict[str, str]:
        found = self.all(name)
        assert len(found) == 1, found
        return found[0]

    def failed(self) -> list[str]:
        return [each["name"] for each in self.findings if each["status"] == "fail"]


@pytest.fixture
def examine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Examined]:
    """Runs the command with these settings; the source is an empty CSV unless `sources` says."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("url,caption\n")

    def run(sources: str = "", **settings: str) -> Examined:
        file = tmp_path / f"sources{next(_numbers)}.yaml"
        file.write_text(sources or f"sources:\n  upload:\n    kind: csv\n    path: {pairs}\n")
        for name, value in {"SOURCES": str(file), **settings}.items():
            monkeypatch.setenv(f"CLIP_SCORING_{name}", value)
        code = main(["doctor", "--json"])
        captured = capsys.readouterr()
        return Examined(code, json.loads(captured.out), captured.out + captured.err)

    return run


@pytest.fixture
def s3(s3_access: S3Access, monkeypatch: pytest.MonkeyPatch) -> S3Access:
    """The environment that boto3 reads, for the server of the tests."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(s3_access.endpoint_url))
    monkeypatch.setenv("AWS_DEFAULT_REGION", str(s3_access.region))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(s3_access.access_key))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(s3_access.secret_key))
    return s3_access


@pytest.fixture
def bucket(s3_client: Any) -> str:
    """A bucket with one object, `pairs/2026-01-01/a.csv`."""
    name = f"doctor-{next(_numbers)}"
    s3_client.create_bucket(Bucket=name)
    s3_client.put_object(Bucket=name, Key="pairs/2026-01-01/a.csv", Body=b"url,caption\n")
    return name


@pytest.fixture
def login(server: PostgresServer, engine: Engine) -> Iterator[Callable[[str], str]]:
    """Makes a login, member of the given group or of none, and returns its URL."""
    grant_roles(engine)
    made: list[str] = []

    def make(group: str) -> str:
        name = f"doctor_{next(_numbers)}"
        administer(server, f"CREATE ROLE {name} LOGIN PASSWORD 'only for this test'")
        made.append(name)
        if group:
            administer(server, f"GRANT {group} TO {name}")
        own = engine.url.set(username=name, password="only for this test")
        return own.render_as_string(hide_password=False).replace("+psycopg2", "")

    yield make
    for name in made:
        administer(server, f"DROP ROLE {name}")


def administer(server: PostgresServer, statement: str) -> None:
    connection = psycopg2.connect(server.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def in_bucket(bucket: str, prefix: str = "", *, images: str = "[]") -> str:
    return (
        f"sources:\n  crawl:\n    kind: s3\n    bucket: {bucket}\n    prefix: '{prefix}'\n"
        f"    format: csv\n    image_buckets: {images}\n"
    )


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_healthy_set_up_is_well_in_every_part(
    examine: Callable[..., Examined], login: Callable[[str], str], tmp_path: Path,
    s3: S3Access, bucket: str,
) -> None:  # fmt: skip
    (tmp_path / "pairs.csv").write_text("\ufeffid,photo,alt\n1,a.png,a cat\n")
    sources = (
        "sources:\n"
        f"  records:\n    kind: postgres\n    image_roots: ['{tmp_path}']\n"
        f"  crawl:\n    kind: s3\n    bucket: {bucket}\n    prefix: pairs/{{date}}/\n"
        f"    format: csv\n    image_buckets: [{bucket}]\n"
        f"  upload:\n    kind: csv\n    path: {tmp_path / 'pairs.csv'}\n"
        "    columns: {image: photo, caption: alt, key: id}\n"
        f"exports:\n  place: s3://{bucket}/out\n"
    )
    seen = examine(sources, DATABASE_URL=login("clip_worker"), CACHE=str(tmp_path / "cache"))
    assert seen.code == 0
    assert [each for each in seen.findings if each["status"] in {"fail", "warn"}] == []
    assert {each["name"] for each in seen.findings if each["status"] == "ok"} >= {
        "python", "packages", "cpu", "gpu", "weights", "self-test", "database", "clock", "schema",
        "rights", "source", "images", "exports", "disk",
    }  # fmt: skip
    assert re.search(r"tiny: clip, sha256 [0-9a-f]{12}\b", seen.one("weights")["text"])
    assert re.search(r"fingerprint [0-9a-f]{12} \(exact, float", seen.one("self-test")["text"])
    assert [each["text"].split(":")[0] for each in seen.all("source")] == [
        "records", "crawl", "upload",
    ]  # fmt: skip
    assert not (tmp_path / "cache").exists()


def test_without_a_database_nothing_is_at_fault(examine: Callable[..., Examined]) -> None:
    table = "sources:\n  records:\n    kind: postgres\n"
    seen = examine(table)
    assert seen.code == 0
    assert seen.one("database")["status"] == "skip"
    assert "CLIP_SCORING_DATABASE_URL" in seen.one("database")["remedy"]
    assert seen.one("source")["status"] == "skip"
    assert not seen.all("clock")


def test_a_missing_schema_names_the_command_that_makes_it(
    examine: Callable[..., Examined], empty_database: str
) -> None:
    seen = examine("sources:\n  records:\n    kind: postgres\n", DATABASE_URL=empty_database)
    assert (seen.code, seen.failed()) == (2, ["schema"])
    assert "at version none" in seen.one("schema")["text"]
    assert "clip-scoring db upgrade" in seen.one("schema")["remedy"]
    assert seen.one("database")["status"] == "ok"
    assert seen.one("source")["status"] == "skip"


def test_an_old_schema_fails_too(
    examine: Callable[..., Examined], world: World, database: str
) -> None:
    world.sql("UPDATE clip.schema_version SET version_num = '0000'")
    seen = examine(DATABASE_URL=database)
    assert (seen.code, seen.failed()) == (2, ["schema"])


def test_a_wrong_password_is_refused_and_never_printed(
    examine: Callable[..., Examined], database: str
) -> None:
    right = str(make_url(database).password)
    seen = examine(DATABASE_URL=database.replace(right, "not-the-right-one"))
    assert (seen.code, seen.failed()) == (2, ["database"])
    assert "password authentication failed" in seen.one("database")["text"]
    assert "correct CLIP_SCORING_DATABASE_URL" in seen.one("database")["remedy"]
    assert "not-the-right-one" not in seen.printed


@pytest.mark.parametrize(
    "password", ["hunter@secret2", "hunter/secret2@x", "hunter?secret2@x", "hunter@secret2:x"]
)
def test_a_password_that_is_not_encoded_is_not_taken_for_a_host_and_printed(
    examine: Callable[..., Examined], password: str
) -> None:
    seen = examine(DATABASE_URL=f"postgresql://me:{password}@127.0.0.1:{closed_port()}/clip")
    assert (seen.code, seen.failed()) == (2, ["database"])
    assert "write %40" in seen.one("database")["text"]
    assert not re.search("hunter|secret2", seen.printed)


def test_a_port_that_is_no_number_is_not_printed(examine: Callable[..., Examined]) -> None:
    seen = examine(DATABASE_URL="postgresql://me:secret2/clip")
    assert (seen.code, seen.failed()) == (2, ["database"])
    assert "the port in the database URL is not a number" in seen.one("database")["text"]
    assert "secret2" not in seen.printed


def test_a_database_that_is_not_started_is_named_by_its_address(
    examine: Callable[..., Examined],
) -> None:
    port = closed_port()
    seen = examine(DATABASE_URL=f"postgresql://me:secret@127.0.0.1:{port}/clip")
    assert (seen.code, seen.failed()) == (2, ["database"])
    assert f"127.0.0.1:{port}" in seen.one("database")["text"]
    assert seen.one("database")["remedy"].startswith("start it")
    assert seen.one("disk")["status"] == "ok"


@pytest.mark.parametrize(
    ("group", "name", "status", "code"),
    [("clip_reader", "rights", "warn", 0), ("", "rights", "fail", 2)],
)
def test_a_login_with_too_few_rights_is_told_which_role_it_needs(
    examine: Callable[..., Examined], login: Callable[[str], str],
    group: str, name: str, status: str, code: int,
) -> None:  # fmt: skip
    seen = examine(DATABASE_URL=login(group))
    assert (seen.code, seen.one(name)["status"]) == (code, status)
    assert "GRANT clip_worker TO" in seen.one(name)["remedy"]


def test_a_clock_that_is_off_is_a_warning(
    examine: Callable[..., Examined], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = health.time.time

    class Ahead:
        time = staticmethod(lambda: true_time() + 60)
        monotonic = staticmethod(health.time.monotonic)

    monkeypatch.setattr(health, "time", Ahead)
    seen = examine(DATABASE_URL=database)
    assert (seen.code, seen.one("clock")["status"]) == (0, "warn")
    assert seen.one("clock")["text"] == "60 s ahead of the database's"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("table: public.nothing", "shop: no table or view public.nothing"),
        ("columns: {caption: alt}", "shop: clip.record has no column 'alt'"),
    ],
)
def test_a_table_that_is_not_as_registered_is_named_with_its_source(
    examine: Callable[..., Examined], database: str, columns: str, message: str
) -> None:
    seen = examine(f"sources:\n  shop:\n    kind: postgres\n    {columns}\n", DATABASE_URL=database)
    assert (seen.code, seen.failed()) == (2, ["source"])
    assert seen.one("source")["text"].startswith(message)
    assert "registration file" in seen.one("source")["remedy"]


def test_a_table_that_the_login_may_not_read_fails(
    examine: Callable[..., Examined], world: World, login: Callable[[str], str]
) -> None:
    world.sql("CREATE TABLE public.pictures (LIKE clip.record)")
    sources = "sources:\n  shop:\n    kind: postgres\n    table: public.pictures\n"
    url = login("clip_worker")
    seen = examine(sources, DATABASE_URL=url)
    assert (seen.code, seen.failed()) == (2, ["source"])
    assert "permission denied for table pictures" in seen.one("source")["text"]
    world.sql("GRANT SELECT ON public.pictures TO clip_worker")
    assert examine(sources, DATABASE_URL=url).code == 0


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "No such file or directory"),
        ("", "has no column 'url', its columns: none: it is empty"),
        ("image,caption", "has no column 'url', its columns: image, caption"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_named_with_its_source(
    examine: Callable[..., Examined], tmp_path: Path, header: str | None, message: str
) -> None:
    file = tmp_path / "upload.csv"
    if header is not None:
        file.write_text(header)
    seen = examine(f"sources:\n  upload:\n    kind: csv\n    path: {file}\n")
    assert (seen.code, seen.failed()) == (2, ["source"])
    assert seen.one("source")["text"].startswith(f"upload: {file}")
    assert seen.one("source")["text"].endswith(message)


@pytest.mark.parametrize(
    ("setting", "part", "message"),
    [
        ("image_roots: [gone]", "images", "gone: no such folder"),
        ("http: {allowed_networks: [10.0.0.1/8]}", "settings", "allowed_networks[0]: '10.0.0.1/8'"),
    ],
)
def test_images_that_cannot_come_as_registered_fail(
    examine: Callable[..., Examined], tmp_path: Path, setting: str, part: str, message: str
) -> None:
    csv = f"sources:\n  upload:\n    kind: csv\n    path: {tmp_path}/pairs.csv\n    {setting}\n"
    seen = examine(csv)
    assert (seen.code, seen.failed()) == (2, [part])
    assert message in seen.one(part)["text"]
    assert "correct it" in seen.one(part)["remedy"]


def test_a_missing_bucket_fails_wherever_it_is_named(
    examine: Callable[..., Examined], s3: S3Access
) -> None:
    sources = in_bucket("no-bucket", images="[no-images/a/]")
    seen = examine(f"{sources}exports:\n  place: s3://no-exports\n")
    assert (seen.code, seen.failed()) == (2, ["source", "images", "exports"])
    assert "crawl: bucket no-bucket does not exist" in seen.one("source")["text"]
    assert "crawl: bucket no-images does not exist" in seen.all("images")[1]["text"]
    assert "bucket no-exports does not exist" in seen.one("exports")["text"]
    assert "bucket and prefix in the registration file" in seen.one("source")["remedy"]


def test_a_prefix_without_objects_is_a_warning(
    examine: Callable[..., Examined], s3: S3Access, bucket: str
) -> None:
    seen = examine(in_bucket(bucket, "paris/{date}/"))
    assert (seen.code, seen.one("source")["status"]) == (0, "warn")


@pytest.mark.parametrize(
    ("answers", "failed"),
    [
        ([Answer(403, "AccessDenied")], ["source"]),
        ([None, Answer(403, "AccessDenied")], []),
        ([None, Answer(403, "InvalidAccessKeyId")], ["images"]),
    ],
)
def test_a_login_that_only_may_not_list_is_enough_for_images(
    examine: Callable[..., Examined], s3: S3Access, bucket: str, monkeypatch: pytest.MonkeyPatch,
    answers: list[Answer | None], failed: list[str],
) -> None:  # fmt: skip
    host, port = str(s3.endpoint_url).removeprefix("http://").split(":")
    with FaultProxy((host, int(port))).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        proxy.break_next(*answers)
        seen = examine(in_bucket(bucket, "pairs/", images=f"[{bucket}]"))
    assert seen.failed() == failed
    assert seen.code == (2 if failed else 0)


def test_an_object_store_that_does_not_answer_fails(
    examine: Callable[..., Examined], s3: S3Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
    seen = examine(in_bucket("media"))
    assert (seen.code, seen.failed()) == (2, ["source"])
    assert "AWS_ENDPOINT_URL" in seen.one("source")["remedy"]


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL", "me:secret@store")]
)
def test_an_access_that_nothing_can_be_asked_with_fails(
    examine: Callable[..., Examined], s3: S3Access, monkeypatch: pytest.MonkeyPatch,
    name: str, value: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(name, value)
    seen = examine(in_bucket("media"))
    assert (seen.code, seen.failed()) == (2, ["source"])
    assert seen.one("source")["text"].startswith("crawl: S3 access: ")
    assert "secret" not in seen.printed


def test_an_export_folder_that_cannot_be_made_fails(
    examine: Callable[..., Examined], tmp_path: Path
) -> None:
    csv = f"sources:\n  upload:\n    kind: csv\n    path: {tmp_path}/pairs.csv\n"
    seen = examine(f"{csv}exports:\n  place: {tmp_path}/pairs.csv/out\n")
    assert (seen.code, seen.failed()) == (2, ["exports"])
    assert "pairs.csv is not a folder" in seen.one("exports")["text"]
    assert "exports:" in seen.one("exports")["remedy"]
    assert examine(f"{csv}exports:\n  place: {tmp_path}/out\n").code == 0
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_there_fail_and_leave_nothing_to_test(
    examine: Callable[..., Examined], tmp_path: Path
) -> None:
    seen = examine(WEIGHTS=str(tmp_path / "gone"))
    assert (seen.code, seen.failed()) == (2, ["weights"])
    assert seen.one("weights")["text"].endswith("gone: no such folder")
    assert "correct CLIP_SCORING_WEIGHTS" in seen.one("weights")["remedy"]
    assert not seen.all("self-test")


def test_weights_without_a_readable_config_fail(
    examine: Callable[..., Examined], tmp_path: Path
) -> None:
    shutil.copytree(TINY, tmp_path / "weights")
    (tmp_path / "weights/config.json").write_text("{")
    seen = examine(WEIGHTS=str(tmp_path / "weights"))
    assert (seen.code, seen.failed()) == (2, ["weights"])
    assert "config.json: not valid JSON" in seen.one("weights")["text"]


@pytest.mark.parametrize("harm", ["cut", "overwritten"])
def test_a_tampered_weights_file_has_another_sha256_and_fails_the_self_test(
    examine: Callable[..., Examined], tmp_path: Path, harm: str
) -> None:
    shutil.copytree(TINY, tmp_path / "weights")
    file = tmp_path / "weights/model.safetensors"
    sound = file.read_bytes()
    half = len(sound) // 2
    file.write_bytes(sound[:half] if harm == "cut" else sound[:half] + b"\xff" * half)
    seen = examine(WEIGHTS=str(tmp_path / "weights"))
    assert (seen.code, seen.failed()) == (2, ["self-test"])
    assert "get the weights anew" in seen.one("self-test")["remedy"]
    sha256 = re.compile(r"sha256 [0-9a-f]{12}")
    tampered, known = (
        sha256.findall(each.one("weights")["text"]) for each in (seen, examine(WEIGHTS="tiny"))
    )
    assert tampered != known


@pytest.mark.parametrize("settings", [{"REQUIRE_GPU": "1"}, {"DEVICE": "cuda"}])
def test_a_gpu_that_is_required_and_not_there_fails(
    examine: Callable[..., Examined], monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = examine(**settings)
    assert (seen.code, seen.failed()) == (2, ["gpu"])
    assert "a GPU is required" in seen.one("gpu")["text"]
    assert "CLIP_SCORING_REQUIRE_GPU=0" in seen.one("gpu")["remedy"]
    assert seen.one("self-test")["status"] == "skip"


def test_a_broken_registration_file_leaves_the_machine_to_be_looked_at(
    examine: Callable[..., Examined],
) -> None:
    seen = examine("sources: [")
    assert (seen.code, seen.failed()) == (2, ["settings"])
    assert "not valid YAML" in seen.one("settings")["text"]
    assert seen.one("cpu")["status"] == "ok"


def test_a_package_that_cannot_be_imported_at_all_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("clip_scoring.doctor.checks", "clip_scoring.database.connection"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy.exc", None)
    assert main(["doctor"]) is ExitCode.WRONG_USE
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1
    assert "sqlalchemy.exc" in output[0]
    assert "make clean setup" in output[0]


def test_a_mistake_in_the_program_itself_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "clip_scoring.doctor.checks", None)
    with pytest.raises(ModuleNotFoundError):
        main(["doctor"])


def test_lines_are_aligned_and_a_remedy_follows_an_arrow(
    examine: Callable[..., Examined], capsys: pytest.CaptureFixture[str]
) -> None:
    examine(WEIGHTS="/nowhere")
    assert main(["doctor"]) is ExitCode.WRONG_USE
    lines = capsys.readouterr().out.splitlines()
    assert all(
        re.fullmatch(r"(ok  |warn|fail|skip)  [a-z0-9-]+ +(?<=^.{17})\S.*", x) for x in lines
    )
    failure = next(each for each in lines if each.startswith("fail"))
    assert failure == (
        "fail  weights    weights /nowhere: no such folder "
        "-> correct CLIP_SCORING_WEIGHTS, or get the files anew"
    )
