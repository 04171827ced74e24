"""`make secrets` makes what docker-compose.yaml requires, once, and nothing starts without."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stack.secrets import SECRETS
from tests.deployment.compose_file import (
    IMAGES,
    REPOSITORY,
    TREE,
    MissingVariable,
    interpolated,
    make_secrets,
    used,
    variables_of,
)


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
