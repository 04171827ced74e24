"""What pip installs: everything that scoring a file needs, and nothing of Airflow or S3."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WITHOUT_EXTRAS = """
import sys
for name in ("airflow", "boto3", "botocore", "onnx", "onnxruntime", "torchcodec"):
    sys.modules[name] = None
import clip_scoring
from clip_scoring.cli import main
assert clip_scoring.__file__.startswith(sys.argv[1]), clip_scoring.__file__
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, made of a copy of what is in the repository."""
    copy = tmp_path_factory.mktemp("source") / "copy"
    listed = subprocess.run(
        ("git", "ls-files", "-z", "clip_scoring", "pyproject.toml", "README.md", "LICENSE"),
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
    subprocess.run(
        (sys.executable, "-m", "build", "--no-isolation", "-o", str(copy / "dist"), str(copy)),
        check=True, capture_output=True,
    )  # fmt: skip
    return copy / "dist"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel by itself; what it depends on comes from where the tests run."""
    (wheel,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def call(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-c", WITHOUT_EXTRAS, str(installed), *arguments),
        cwd=installed, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(installed)},
    )  # fmt: skip


def test_the_wheel_scores_a_file_without_any_extra(installed: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    path = tmp_path / "pairs.csv"
    path.write_text("url,caption\nred.png,a red background\ns3://b/k.jpg,x\nhttp://10.0.0.1/,x\n")
    done = call(installed, "score", str(path), "--quiet")
    # An address in S3 needs the extra, and says so before an hour has passed.
    assert (done.returncode, "pip install 'clip-scoring[s3]'" in done.stderr) == (2, True), done
    path.write_text("url,caption\nred.png,a red background\nhttp://10.0.0.1/,x\n")
    done = call(installed, "score", str(path), "--quiet", "--no-resume")
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "pairs_scored.csv").read_text().splitlines()
    assert float(rows[1].split(",")[2]) > 0
    assert rows[2].split(",")[6] == "uri_forbidden"


def test_the_sdist_has_what_the_wheel_has(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    in_wheel = {each for each in zipfile.ZipFile(wheel).namelist() if "dist-info" not in each}
    with tarfile.open(sdist) as packed:
        in_sdist = {name.partition("/")[2] for name in packed.getnames()}
    assert in_wheel - in_sdist == set()
    assert {"clip_scoring/models/tiny/model.safetensors", "clip_scoring/py.typed"} <= in_wheel
    assert not any(name.startswith(("tests", "dags", "plugins", "stack")) for name in in_wheel)


def test_airflow_and_clients_are_extras(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    metadata = zipfile.ZipFile(wheel).read("clip_scoring-0.1.0.dist-info/METADATA").decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    always = [line.split()[1] for line in needed if "extra ==" not in line]
    assert not any(name in line for line in always for name in ("airflow", "boto", "onnx"))
    for extra in ("airflow", "s3", "int8"):
        assert f"Provides-Extra: {extra}" in metadata
