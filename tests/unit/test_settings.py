"""Registrations: what a good file says, and the one line that each bad file gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import DEFAULT_REGISTRATIONS, Settings
from clip_scoring.settings.registrations import (
    BucketPlace,
    FileFormat,
    FilePlace,
    Registrations,
    SourceRegistration,
    TablePlace,
    read_registrations,
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


@pytest.mark.parametrize("text", ["", "[]", "text", "weights: {}", "sources:", "sources: [a]"])
def test_a_file_without_a_mapping_of_sources_is_refused(write: Write, text: str) -> None:
    assert refusal(write(text)) == "needs a mapping `sources:` with one entry per source"


@pytest.mark.parametrize(
    ("yaml", "name"),
    [("A", "'A'"), ("1", "1"), ("''", "''"), ("'a b'", "'a b'"), ("é", "'é'"),
     ('"a\\n"', r"'a\n'"), ("x" * 64, f"'{'x' * 64}'"), ("true", "True")],
)  # fmt: skip
def test_a_source_with_a_bad_name_is_refused(write: Write, yaml: str, name: str) -> None:
    assert refusal(write(f"sources: {{{yaml}: {{kind: postgres}}}}")) == (
        f"source {name}: a name is lower case letters, digits, _ and -"
    )


@pytest.mark.parametrize(
    "entry", ["", "{}", "[]", "postgres", "{kind: mysql}", "{kind: [postgres]}"]
)
def test_a_source_of_another_kind_is_refused(write: Write, entry: str) -> None:
    assert refusal(write(f"sources: {{a: {entry}}}")) == (
        "source 'a': needs `kind:`, one of postgres, s3, csv"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("password: x", "unknown setting 'password', known: "),
        ("1: x, zeta: y", "unknown setting 1, known: "),
        ("columns: [id]", "columns are key, image, caption, event_time"),
        ("columns: {id: id}", "columns are key, image, caption, event_time"),
        ("image_roots: /srv/images", "image_roots is a list of folders"),
        ("image_roots: {a: b}", "image_roots is a list of folders"),
        ("http: 8080", "http has allowed_hosts, allowed_networks, allowed_ports, egress_proxy"),
        ("http: {networks: []}", "http has allowed_hosts, allowed_networks, allowed_ports"),
        ("http: {allowed_networks: 10.0.0.0/8}", "allowed_networks is a list"),
        ("http: {allowed_ports: 8080}", "allowed_ports is a list of numbers from 1 to 65535"),
        ("http: {allowed_ports: [http]}", "allowed_ports is a list of numbers from 1 to 65535"),
        ("http: {allowed_ports: [70000]}", "allowed_ports is a list of numbers from 1 to 65535"),
        ("http: {allowed_ports: [true]}", "allowed_ports is a list of numbers from 1 to 65535"),
        ("http: {allowed_hosts: a.example}", "allowed_hosts is a list of host names in lower case"),
        ("http: {allowed_hosts: [A.example]}", "allowed_hosts is a list of host names"),
        ("http: {allowed_hosts: ['*.example']}", "allowed_hosts is a list of host names"),
        ("http: {allowed_hosts: ['a.example:80']}", "allowed_hosts is a list of host names"),
        ("http: {allowed_hosts: [10]}", "allowed_hosts is a list of host names in lower case"),
        ("http: {egress_proxy: proxy}", "egress_proxy is http://host:port, and nothing more"),
        ("http: {egress_proxy: 'http://proxy'}", "egress_proxy is http://host:port"),
        ("http: {egress_proxy: 'https://proxy:3128'}", "egress_proxy is http://host:port"),
        ("http: {egress_proxy: 'http://a:b@proxy:3128'}", "egress_proxy is http://host:port"),
        ("http: {egress_proxy: 'http://proxy:3128/x'}", "egress_proxy is http://host:port"),
        ("http: {egress_proxy: 'http://proxy:3128?x'}", "egress_proxy is http://host:port"),
        ("http: {egress_proxy: 'http://proxy:port'}", "egress_proxy is http://host:port"),
        ("http: {egress_proxy: [x]}", "egress_proxy is http://host:port, and nothing more"),
        ("image_buckets: media", "image_buckets is a list of `bucket` or `bucket/prefix/`"),
        ("image_buckets: [media/public]", "image_buckets is a list of `bucket`"),
        ("image_buckets: [media//]", "image_buckets is a list of `bucket` or `bucket/prefix/`"),
        ("image_buckets: ['s3://media']", "image_buckets is a list of `bucket`"),
        ("image_buckets: [Media]", "image_buckets is a list of `bucket` or `bucket/prefix/`"),
        ("image_buckets: ['media/{date}/']", "image_buckets is a list of `bucket`"),
        ("image_connection: [a]", "image_connection is the name of a connection"),
    ],
)
def test_a_bad_setting_is_refused_with_its_source(write: Write, setting: str, message: str) -> None:
    path = write(f"sources: {{a: {{kind: postgres, {setting}}}}}")
    assert refusal(path).startswith(f"source 'a': {message}")


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
        ("kind: s3, format: csv", "needs `bucket:`, the name of an S3 bucket"),
        ("kind: s3, bucket: Bad_Name, format: csv", "needs `bucket:`, the name of an S3 bucket"),
        ("kind: s3, bucket: media", "needs `format:`, one of csv, jsonl, parquet, webdataset"),
        ("kind: s3, bucket: media, format: xml", "needs `format:`, one of csv, jsonl, parquet"),
        ("kind: s3, bucket: media, format: csv, prefix: /x", "prefix is text without a leading /"),
        ("kind: s3, bucket: media, format: csv, prefix: '{date}/{date}'", "prefix is text"),
        ("kind: s3, bucket: media, format: csv, prefix: '{day}/'", "prefix '{day}/' may hold"),
        ("kind: s3, bucket: media, format: csv, endpoint: 'http://x'", "unknown setting"),
        ("kind: s3, bucket: media, format: csv, columns: {key: k}", "columns are image, caption"),
        ("kind: csv", "needs `path:`, a CSV file"),
        ("kind: csv, path: [a]", "needs `path:`, a CSV file"),
        ("kind: csv, path: a.csv, bucket: b", "unknown setting 'bucket'"),
    ],
)
def test_a_bad_place_is_refused_with_its_source(write: Write, entry: str, message: str) -> None:
    assert refusal(write(f"sources: {{a: {{{entry}}}}}")).startswith(f"source 'a': {message}")


@pytest.mark.parametrize("weights", ["[a]", "text", "{A: /srv}", "{a: 1}", "{a: }", "{'': /srv}"])
def test_weights_that_are_no_names_of_folders_are_refused(write: Write, weights: str) -> None:
    path = write(f"sources: {{a: {{kind: postgres}}}}\nweights: {weights}")
    assert refusal(path) == "`weights:` maps names to folders"


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
        "source 'records': records lie in the database of connection clip_scoring_db"
    )


def test_an_installed_package_without_its_repository_has_the_default_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "clip_scoring.settings.environment.DEFAULT_REGISTRATIONS", tmp_path / "none.yaml"
    )
    registered = Settings.from_environment({}).registrations
    assert registered.sources == {"records": SourceRegistration("records")}
