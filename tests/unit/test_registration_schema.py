"""The JSON schema of the registration file, and that no file breaks its reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import DEFAULT_REGISTRATIONS
from clip_scoring.settings.registration_file import json_schema, read_registrations
from clip_scoring.settings.registrations import Registrations

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = DOCS / "sources.schema.json"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / "sources.md").read_text(), re.M | re.S)


def example(text: str) -> str:
    """Examples after the first leave out the line above them."""
    return text if text.startswith("sources:") else f"sources:\n{text}"


def test_the_schema_in_the_documentation_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema(), "run make docs"


def test_the_registration_file_names_the_schema_for_editors() -> None:
    first = DEFAULT_REGISTRATIONS.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (DEFAULT_REGISTRATIONS.parent / named).resolve() == SCHEMA


@pytest.mark.parametrize("text", [DEFAULT_REGISTRATIONS.read_text(), *map(example, EXAMPLES)])
def test_files_that_we_show_keep_the_schema_and_can_be_read(text: str, tmp_path: Path) -> None:
    jsonschema.validate(yaml.safe_load(text), json_schema())
    path = tmp_path / "sources.yaml"
    path.write_text(text)
    assert read_registrations(path).sources


def test_every_kind_of_source_has_an_example() -> None:
    shown = yaml.safe_load(
        "sources:\n" + "".join(each.removeprefix("sources:\n") for each in EXAMPLES)
    )
    assert {each["kind"] for each in shown["sources"].values()} == {"postgres", "s3", "csv"}


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"sources": {}},
        {"sources": {"A": {"kind": "postgres"}}},
        {"sources": {"a": {"kind": "mysql"}}},
        {"sources": {"a": {"kind": "s3", "format": "csv"}}},
        {"sources": {"a": {"kind": "postgres", "tabel": "x.y"}}},
        {"sources": {"a": {"kind": "postgres", "http": {"allowed_ports": [65536]}}}},
        {"sources": {"a": {"kind": "postgres"}}, "export": {"place": "out"}},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(tree: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, json_schema())
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(SettingsInvalid):
        read_registrations(path)


KEYS = ["sources", "weights", "exports", "kind", "columns", "http", "path", "bucket", "prefix",
        "format", "place", "connection", "table", "image_roots", "image_buckets", "key", "image",
        "allowed_ports", "allowed_networks", "allowed_hosts", "egress_proxy", "a"]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.datetimes()
    | st.binary(max_size=5) | st.text(max_size=12)
    | st.sampled_from(["postgres", "s3", "csv", "parquet", "s3://lake/x", "http://p:1", "~", "/"])
)  # fmt: skip
KEY = st.sampled_from(KEYS) | LEAVES
TREES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEY, below, max_size=4),
    max_leaves=12,
)
SOURCES = st.dictionaries(
    st.sampled_from(["a", "b", "A"]),
    st.dictionaries(st.sampled_from(KEYS), TREES, max_size=4).flatmap(
        lambda tree: st.sampled_from(["postgres", "s3", "csv"]).map(lambda k: {**tree, "kind": k})
    ),
    max_size=2,
)
FILES = TREES | st.fixed_dictionaries(
    {"sources": SOURCES}, optional={"weights": TREES, "exports": TREES}
)


def read(text: str) -> Registrations | str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sources.yaml"
        path.write_bytes(text.encode())
        try:
            return read_registrations(path)
        except SettingsInvalid as refused:
            lines = str(refused).splitlines()
            assert all(line.startswith(f"{path}: ") for line in lines), lines
            assert not re.search(r"pydantic|Input should|Field required|https://", str(refused))
            return str(refused)


@given(FILES)
@settings(max_examples=300, deadline=None)
def test_any_tree_is_registrations_or_refused_in_our_words(tree: object) -> None:
    found = read(yaml.safe_dump(tree, allow_unicode=True))
    assert isinstance(found, Registrations | str)


@given(st.text(st.sampled_from("sources: {}[]&*!|>-?'\"\\\n\tab1.#%@`<0x"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_registrations_or_refused_in_our_words(text: str) -> None:
    assert isinstance(read(text), Registrations | str)


@pytest.mark.parametrize(
    "text",
    [
        "sources: &a {b: *a}",
        "&a [*a]",
        "sources: {a: &x {kind: csv, path: p, columns: *x}}",
        f"sources: {{a: {{kind: csv, path: 0x{'f' * 5000}}}}}",
        f"sources: {'[' * 3000}",
        "sources: {a: {kind: csv, path: !!timestamp x}}",
        "weights: !!set {a}\nsources: !!omap [a: 1]",
        f"sources: {{a: {{kind: csv, path: {'x' * 5000}}}}}",
    ],
)
def test_odd_yaml_breaks_nothing(text: str) -> None:
    assert isinstance(read(text), Registrations | str)
