"""The registered place of exports: what a good file says, and the line that a bad one gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import DEFAULT_REGISTRATIONS
from clip_scoring.settings.registration_file import read_registrations
from clip_scoring.settings.registrations import ExportBucket, ExportFolder, Registrations

Read = Callable[[str], Registrations]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def written(exports: str) -> Registrations:
        path = tmp_path / "sources.yaml"
        path.write_text(f"sources:\n  records: {{kind: postgres}}\nexports: {exports}\n")
        return read_registrations(path)

    return written


def test_a_folder_is_relative_to_the_file(read: Read, tmp_path: Path) -> None:
    assert read("{place: out/parquet}").export_place() == ExportFolder(tmp_path / "out/parquet")
    assert read("{place: /srv/exports}").export_place() == ExportFolder(Path("/srv/exports"))


@pytest.mark.parametrize(("place", "bucket"), [
    ("s3://lake", ExportBucket("lake", "", "clip_scoring_s3")),
    ("s3://lake/", ExportBucket("lake", "", "clip_scoring_s3")),
    ("s3://lake/a/b c", ExportBucket("lake", "a/b c/", "clip_scoring_s3")),
    ("s3://lake/a/, connection: minio", ExportBucket("lake", "a/", "minio")),
])  # fmt: skip
def test_a_bucket_has_a_prefix_and_a_connection(
    read: Read, place: str, bucket: ExportBucket
) -> None:
    assert read(f"{{place: {place}}}").export_place() == bucket


@pytest.mark.parametrize("exports", [
    "out", "[out]", "{}", "{place: }", "{place: 7}", "{place: out, bucket: lake}",
    "{place: out, connection: minio}", "{place: s3://}", "{place: s3://L}", "{place: s3:///a}",
    "{place: s3://lake//a}", "{place: 's3://lake/{date}'}", "{place: gs://lake/a}",
    "{place: s3://lake, connection: [minio]}", "{place: 'https://lake/a'}",
])  # fmt: skip
def test_what_is_neither_is_refused_in_one_line(read: Read, exports: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        read(exports)
    text = str(refused.value)
    assert re.match(
        rf"{tmp_path / 'sources.yaml'}: exports(\.place|\.connection|\.bucket)?: ", text
    )
    assert len(text.splitlines()) == 1


def test_without_a_place_the_error_says_how_to_register_one(read: Read) -> None:
    for registered in (read("null"), read_registrations(DEFAULT_REGISTRATIONS)):
        assert registered.exports is None
        with pytest.raises(SettingsInvalid, match=r"write `exports: {place: "):
            registered.export_place()
