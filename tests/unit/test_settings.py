"""Registrations: what a good file says, and the one line that each bad file gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import DEFAULT_REGISTRATIONS, Settings
from clip_scoring.settings.registration_file import read_registrations
from clip_scoring.settings.registrations import (
    BucketPlace,
    FileFormat,
    FilePlace,
    Registrations,
    SourceRegistration,
    TablePlace,
)

Write = Callable[[str], Path]
GOOD = """
sources:
  records:
    kind: postgres
  archive:
    kind: postgres
    connection: clip_scoring_db
    table: museum.objects
    columns: {key: id, image: photo, caption: title, event_time: seen_at}
    image_roots: [/srv/images, scans]
    http:
      allowed_networks: [10.1.0.0/16]
      allowed_hosts: [images.internal]
      allowed_ports: [8080]
      egress_proxy: http://proxy:3128
    image_buckets: [media, archive/public/]
    image_connection: minio
weights:
  large: /srv/weights/large
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "sources.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def refusal(path: Path) -> str:
    with pytest.raises(SettingsInvalid) as raised:
        read_registrations(path)
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_a_source_of_a_kind_alone_takes_the_defaults(write: Write) -> None:
    assert read_registrations(write(GOOD)).source("records") == SourceRegistration(
        name="records",
        place=TablePlace("clip.record", "key", "image_uri", "caption", "created_at"),
        image_roots=(),
        allowed_networks=(),
        allowed_ports=(80, 443),
        allowed_hosts=(),
        egress_proxy=None,
        image_buckets=(),
        image_connection="clip_scoring_s3",
    )


def test_a_source_is_read_in_full(write: Write, tmp_path: Path) -> None:
    assert read_registrations(write(GOOD)).source("archive") == SourceRegistration(
        name="archive",
        place=TablePlace("museum.objects", "id", "photo", "title", "seen_at"),
        image_roots=(Path("/srv/images"), tmp_path / "scans"),
        allowed_networks=("10.1.0.0/16",),
        allowed_ports=(80, 443, 8080),
        allowed_hosts=("images.internal",),
        egress_proxy="http://proxy:3128",
        image_buckets=("media", "archive/public/"),
        image_connection="minio",
    )


def test_relative_roots_start_at_the_file_whatever_the_working_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("sources: {a: {kind: postgres, image_roots: [x, ../y]}}")
    monkeypatch.chdir("/")
    assert read_registrations(path).source("a").image_roots == (
        tmp_path / "x", tmp_path.parent / "y"
    )  # fmt: skip


def test_the_embedded_weights_are_always_registered(write: Write) -> None:
    assert read_registrations(write(GOOD)).weights == {
        "tiny": "tiny", "large": "/srv/weights/large"
    }  # fmt: skip


def test_empty_settings_mean_the_defaults(write: Write) -> None:
    text = (
        "sources: {a: {kind: postgres, columns: , image_roots: , image_buckets: , "
        "image_connection: , http: {egress_proxy: , allowed_hosts: }}}\nweights:\n"
    )
    assert read_registrations(write(text)) == Registrations({"a": SourceRegistration("a")})


def test_the_file_in_the_repository_can_be_read() -> None:
    assert list(read_registrations(DEFAULT_REGISTRATIONS).sources) == ["records"]


def test_a_source_that_is_not_registered_is_refused_with_those_that_are(write: Write) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read_registrations(write(GOOD)).source("1; DROP TABLE clip.score")
    assert str(raised.value) == (
        "source '1; DROP TABLE clip.score' is not registered: records, archive"
    )


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == "No such file or directory"


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "Is a directory"


def test_bytes_that_are_not_utf8_are_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    path.write_bytes(b"sources: \xff")
    assert refusal(path).startswith("not valid YAML: ")


@pytest.mark.parametrize("text", ["a: [", "\ta: 1", "a: b: c", "a: \x01", "{? {}: 1}", "!!x/y 1"])
def test_text_that_is_no_yaml_is_refused(write: Write, text: str) -> None:
    assert refusal(write(text)).startswith("not valid YAML: ")


def test_yaml_that_asks_to_run_code_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(f"sources: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']")
    assert refusal(path).startswith("not valid YAML: ")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sources: missing, must be a mapping"),
        ("weights: {}", "sources: missing, must be a mapping"),
        ("[a]", "must be a mapping, not a list"),
        ("text", "'text' must be a mapping"),
        ("sources:", "sources: must be a mapping, not empty"),
        ("sources: {}", "sources: must not be empty"),
        ("sources: [a]", "sources: must be a mapping, not a list"),
    ],
)
def test_a_file_without_a_mapping_of_sources_is_refused(
    write: Write, text: str, message: str
) -> None:
    assert refusal(write(text)) == message


@pytest.mark.parametrize(
    ("yaml", "where", "name"),
    [("A", "sources.A", "'A'"), ("1", "sources[1]", "1"), ("''", "sources['']", "''"),
     ("'a b'", "sources['a b']", "'a b'"), ("é", "sources['é']", "'é'"),
     ('"a\\n"', r"sources['a\n']", r"'a\n'"), ("x" * 64, f"sources.{'x' * 64}", f"'{'x' * 64}'"),
     ("true", "sources[1]", "true"), ("yes", "sources[1]", "true")],
)  # fmt: skip
def test_a_source_with_a_bad_name_is_refused(
    write: Write, yaml: str, where: str, name: str
) -> None:
    assert refusal(write(f"sources: {{{yaml}: {{kind: postgres}}}}")) == (
        f"{where}: {name} must be a name: up to 63 lower case letters, digits, _ and -, "
        "a letter first"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", ": must be a mapping, not empty"),
        ("{}", ".kind: missing, must be one of postgres, s3, csv"),
        ("[]", ": must be a mapping, not a list"),
        ("postgres", ": 'postgres' must be a mapping"),
        ("{kind: mysql}", ".kind: 'mysql' must be one of postgres, s3, csv"),
        ("{kind: [postgres]}", ".kind: must be one of postgres, s3, csv, not a list"),
        ("{kind: }", ".kind: must be one of postgres, s3, csv, not empty"),
    ],
)
def test_a_source_of_another_kind_is_refused(write: Write, entry: str, message: str) -> None:
    assert refusal(write(f"sources: {{a: {entry}}}")) == f"sources.a{message}"


PREFIX = "must be a string without a / at its start, with {date} at most once"
PORT, HOST = "must be a whole number from 1 to 65535", "must be the name of a host in lower case"
PROXY, BUCKET = "must be http://host:port and nothing more", "must be bucket or bucket/prefix/"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("password: x", "password: unknown setting, known: image_roots, image_buckets, "),
        ("1: x", "[1]: unknown setting, known: image_roots, "),
        ("columns: [id]", "columns: must be a mapping, not a list"),
        (
            "columns: {id: id}",
            "columns.id: unknown setting, known: image, caption, key, event_time",
        ),
        ("columns: {key: 5}", "columns.key: 5 must be a string: write it in quotes"),
        ("columns: {key: yes}", "columns.key: true must be a string: write it in quotes"),
        ("columns: {key: 2026-01-01}", "columns.key: '2026-01-01' must be a string: write it in"),
        ("columns: {key: ''}", "columns.key: must be a string, not an empty one"),
        ("table: 5", "table: 5 must be a string: write it in quotes"),
        ("image_roots: /srv/images", "image_roots: '/srv/images' must be a list"),
        ("image_roots: {a: b}", "image_roots: must be a list, not a mapping"),
        ("image_roots: [a, 5]", "image_roots[1]: 5 must be a string: write it in quotes"),
        (
            "image_roots: [ ]\n   ,image_root: x",
            "image_root: unknown setting, did you mean image_roots",
        ),
        ("http: 8080", "http: 8080 must be a mapping"),
        ("http: {networks: []}", "http.networks: unknown setting, did you mean allowed_networks?"),
        ("http: {allowed_networks: 10.0.0.0/8}", "http.allowed_networks: '10.0.0.0/8' must be a "),
        (
            "http: {allowed_networks: [10.0.0.1/8]}",
            "http.allowed_networks[0]: '10.0.0.1/8' must be",
        ),
        ("http: {allowed_networks: [10]}", "http.allowed_networks[0]: 10 must be a network like "),
        ("http: {allowed_ports: 8080}", "http.allowed_ports: 8080 must be a list"),
        ("http: {allowed_ports: [http]}", f"http.allowed_ports[0]: 'http' {PORT}"),
        ("http: {allowed_ports: ['80']}", f"http.allowed_ports[0]: '80' {PORT}"),
        ("http: {allowed_ports: [80.0]}", f"http.allowed_ports[0]: 80.0 {PORT}"),
        ("http: {allowed_ports: [70000]}", f"http.allowed_ports[0]: 70000 {PORT}"),
        ("http: {allowed_ports: [0]}", f"http.allowed_ports[0]: 0 {PORT}"),
        ("http: {allowed_ports: [true]}", f"http.allowed_ports[0]: true {PORT}"),
        ("http: {allowed_hosts: a.example}", "http.allowed_hosts: 'a.example' must be a list"),
        ("http: {allowed_hosts: [A.example]}", f"http.allowed_hosts[0]: 'A.example' {HOST}"),
        ("http: {allowed_hosts: ['*.example']}", f"http.allowed_hosts[0]: '*.example' {HOST}"),
        (
            "http: {allowed_hosts: ['a.example:80']}",
            f"http.allowed_hosts[0]: 'a.example:80' {HOST}",
        ),
        ("http: {allowed_hosts: [10]}", f"http.allowed_hosts[0]: 10 {HOST}"),
        ("http: {egress_proxy: proxy}", f"http.egress_proxy: 'proxy' {PROXY}"),
        ("http: {egress_proxy: 'http://proxy'}", f"http.egress_proxy: 'http://proxy' {PROXY}"),
        ("http: {egress_proxy: 'https://proxy:3128'}", "http.egress_proxy: 'https://proxy:3128' "),
        (
            "http: {egress_proxy: 'http://proxy:3128/x'}",
            "http.egress_proxy: 'http://proxy:3128/x' ",
        ),
        (
            "http: {egress_proxy: 'http://proxy:3128?x'}",
            "http.egress_proxy: 'http://proxy:3128?…' ",
        ),
        (
            "http: {egress_proxy: 'http://proxy:port'}",
            f"http.egress_proxy: 'http://proxy:port' {PROXY}",
        ),
        ("http: {egress_proxy: [x]}", f"http.egress_proxy: {PROXY}, not a list"),
        ("image_buckets: media", "image_buckets: 'media' must be a list"),
        ("image_buckets: [media/public]", f"image_buckets[0]: 'media/public' {BUCKET}"),
        ("image_buckets: [media//]", f"image_buckets[0]: 'media//' {BUCKET}"),
        ("image_buckets: ['s3://media']", f"image_buckets[0]: 's3://media' {BUCKET}"),
        ("image_buckets: [Media]", f"image_buckets[0]: 'Media' {BUCKET}"),
        ("image_buckets: ['media/{date}/']", f"image_buckets[0]: 'media/{{date}}/' {BUCKET}"),
        ("image_connection: [a]", "image_connection: must be the name of a connection, not a list"),
    ],
)
def test_a_bad_setting_is_refused_with_its_place(write: Write, setting: str, message: str) -> None:
    path = write(f"sources: {{a: {{kind: postgres, {setting}}}}}")
    dot = "" if message.startswith("[") else "."
    assert refusal(path).startswith(f"sources.a{dot}{message}")


@pytest.mark.parametrize("login", ["a:secret@proxy", "a:sec/ret@proxy", "secret@x@proxy"])
@pytest.mark.parametrize("scheme", ["http://", "//", "http:/", ""])
def test_a_login_in_a_bad_value_is_not_shown(write: Write, scheme: str, login: str) -> None:
    if login.startswith("secret") and "//" not in scheme:
        login = f"a:{login}"
    proxy = f"{scheme}{login}:80/x?key=y"
    text = refusal(write(f"sources: {{a: {{kind: postgres, http: {{egress_proxy: '{proxy}'}}}}}}"))
    assert text.startswith("sources.a.http.egress_proxy: '")
    assert text.endswith(PROXY)
    assert not re.search("secret|ret@|sec/", text)


def test_the_value_of_an_unknown_setting_is_not_shown(write: Write) -> None:
    assert "hunter2" not in refusal(write("sources: {a: {kind: postgres, secret_key: hunter2}}"))


def test_every_problem_has_a_line_of_its_own(write: Write) -> None:
    path = write(
        "sources:\n  a: {kind: postgres, colums: {}, http: {allowed_ports: [80, '8080']}}\n"
        "  b: {kind: s3, bucket: B}\nexport: {place: out}\n"
    )
    with pytest.raises(SettingsInvalid) as raised:
        read_registrations(path)
    assert str(raised.value).splitlines() == [
        f"{path}: sources.a.http.allowed_ports[1]: '8080' {PORT}",
        f"{path}: sources.a.colums: unknown setting, did you mean columns?",
        f"{path}: sources.b.bucket: 'B' must be the name of an S3 bucket",
        f"{path}: sources.b.format: missing, must be one of csv, jsonl, parquet, webdataset",
        f"{path}: export: unknown setting, did you mean exports?",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "sources: {a: {kind: postgres}}\nsources: {b: {kind: postgres}}",
        "sources: {a: {kind: postgres}, a: {kind: csv, path: x}}",
        "sources: {a: {kind: postgres, image_roots: [], image_roots: [x]}}",
        "sources: {a: {kind: postgres, 'table': a.b, table: c.d}}",
    ],
)
def test_a_key_that_stands_twice_in_a_mapping_is_refused_with_its_line(
    write: Write, text: str
) -> None:
    assert re.fullmatch(
        r"not valid YAML: line [12]: the key '\w+' stands here twice", refusal(write(text))
    )


def test_what_a_merge_brings_may_be_said_otherwise(write: Write) -> None:
    text = (
        "sources:\n  a: &a {kind: postgres, table: x.y, image_roots: [/srv]}\n"
        "  b: {<<: *a, table: z.y}\n"
    )
    found = read_registrations(write(text)).sources
    assert found["b"].place == TablePlace("z.y")
    assert found["b"].image_roots == (Path("/srv"),)


@pytest.mark.parametrize("text", [r'"\0"', r'"\ud800"', r'["a", {"\udfff": b}]'])
def test_a_character_that_no_setting_may_hold_is_refused(write: Write, text: str) -> None:
    assert refusal(write(f"sources: {text}")) == (
        "not valid YAML: line 1: a character that no setting may hold"
    )


def test_a_bucket_is_read_in_full(write: Write) -> None:
    text = (
        "sources: {a: {kind: s3, connection: minio, bucket: media, prefix: 'pairs/{date}/', "
        "format: parquet, columns: {image: u, caption: c}}}"
    )
    assert read_registrations(write(text)).source("a").place == BucketPlace(
        "media", "pairs/{date}/", FileFormat.PARQUET, "minio", "u", "c"
    )


def test_a_bucket_has_defaults_for_connection_prefix_and_columns(write: Write) -> None:
    text = "sources: {a: {kind: s3, bucket: media, format: csv}}"
    assert read_registrations(write(text)).source("a").place == BucketPlace(
        "media", "", FileFormat.CSV, "clip_scoring_s3", "url", "caption"
    )


def test_the_path_of_a_csv_file_starts_at_the_registration_file(
    write: Write, tmp_path: Path
) -> None:
    text = "sources: {a: {kind: csv, path: pairs.csv, columns: {caption: text}}}"
    assert read_registrations(write(text)).source("a").place == FilePlace(
        tmp_path / "pairs.csv", "url", "text"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("kind: s3, format: csv", "bucket: missing, must be the name of an S3 bucket"),
        ("kind: s3, bucket: Bad_Name, format: csv", "bucket: 'Bad_Name' must be the name of an S3"),
        ("kind: s3, bucket: media", "format: missing, must be one of csv, jsonl, parquet, webdata"),
        (
            "kind: s3, bucket: media, format: xml",
            "format: 'xml' must be one of csv, jsonl, parquet",
        ),
        ("kind: s3, bucket: media, format: csv, prefix: /x", f"prefix: '/x' {PREFIX}"),
        (
            "kind: s3, bucket: media, format: csv, prefix: '{date}/{date}'",
            "prefix: '{date}/{date}' ",
        ),
        ("kind: s3, bucket: media, format: csv, prefix: '{day}/'", f"prefix: '{{day}}/' {PREFIX}"),
        ("kind: s3, bucket: media, format: csv, endpoint: 'http://x'", "endpoint: unknown setting"),
        ("kind: s3, bucket: media, format: csv, columns: {key: k}", "columns.key: unknown setting"),
        ("kind: csv", "path: missing, must be a string"),
        ("kind: csv, path: [a]", "path: must be a string, not a list"),
        ("kind: csv, path: a.csv, bucket: b", "bucket: unknown setting"),
        ("kind: csv, path: a.csv, table: b", "table: unknown setting"),
    ],
)
def test_a_bad_place_is_refused_with_its_source(write: Write, entry: str, message: str) -> None:
    assert refusal(write(f"sources: {{a: {{{entry}}}}}")).startswith(f"sources.a.{message}")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("[a]", ": must be a mapping, not a list"),
        ("text", ": 'text' must be a mapping"),
        ("{A: /srv}", ".A: 'A' must be a name: "),
        ("{a: 1}", ".a: 1 must be a string: write it in quotes"),
        ("{a: }", ".a: must be a string, not empty"),
        ("{'': /srv}", "['']: '' must be a name: "),
    ],
)
def test_weights_that_are_no_names_of_folders_are_refused(
    write: Write, weights: str, message: str
) -> None:
    path = write(f"sources: {{a: {{kind: postgres}}}}\nweights: {weights}")
    assert refusal(path).startswith(f"weights{message}")


def settings(weights: str = "tiny") -> Settings:
    return Settings(Registrations({}, {"tiny": "tiny", "large": "/srv/large"}), weights=weights)


@pytest.mark.parametrize(("name", "place"), [("tiny", "tiny"), ("large", "/srv/large")])
def test_registered_weights_are_found_by_name(name: str, place: str) -> None:
    assert settings().weights_location(name) == place


def test_what_the_environment_says_may_be_a_folder() -> None:
    assert settings(weights="/srv/own").weights_location("/srv/own") == "/srv/own"


def test_what_the_environment_says_may_be_a_registered_name() -> None:
    assert settings(weights="large").weights_location("large") == "/srv/large"


@pytest.mark.parametrize("name", ["/etc", "../large", "{{ var.value.secret }}", ""])
def test_a_form_cannot_name_a_folder_that_is_not_registered(name: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        settings(weights="/srv/own").weights_location(name)
    assert str(raised.value) == f"weights {name!r} are not registered: tiny, large"


def test_the_environment_is_read_once_into_settings(write: Write) -> None:
    found = Settings.from_environment(
        {
            "CLIP_SCORING_SOURCES": str(write(GOOD)),
            "CLIP_SCORING_WEIGHTS": "large",
            "CLIP_SCORING_DATABASE_URL": "postgresql://u:p@h/db",
        }
    )
    assert (list(found.registrations.sources), found.weights, found.database_url) == (
        ["records", "archive"], "large", "postgresql://u:p@h/db"
    )  # fmt: skip


@pytest.mark.parametrize("value", [{}, {"CLIP_SCORING_DATABASE_URL": ""}])
def test_a_missing_database_url_is_refused_with_where_to_set_it(value: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid, match="set CLIP_SCORING_DATABASE_URL=postgresql://"):
        Settings.from_environment(value).require_database_url()


def test_a_database_url_given_by_hand_wins_over_the_environment() -> None:
    environ = {"CLIP_SCORING_DATABASE_URL": "postgresql://environment/db"}
    found = Settings.from_environment(environ, database_url="postgresql://hand/db")
    assert found.require_database_url() == "postgresql://hand/db"


def test_records_in_another_database_than_the_outcomes_are_refused(write: Write) -> None:
    text = "sources: {records: {kind: postgres, connection: other_db}}"
    assert refusal(write(text)) == (
        "sources.records.connection: 'other_db' must be clip_scoring_db: records lie in the "
        "database of the outcomes"
    )


def test_an_installed_package_without_its_repository_has_the_default_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "clip_scoring.settings.environment.DEFAULT_REGISTRATIONS", tmp_path / "none.yaml"
    )
    registered = Settings.from_environment({}).registrations
    assert registered.sources == {"records": SourceRegistration("records")}
