"""What is made of the facts about a machine: well, odd or broken, and what to do then."""

from __future__ import annotations

import re
import stat
import tomllib
import warnings
from pathlib import Path

import pytest
import torch

from clip_scoring.database.health import Rights
from clip_scoring.doctor.findings import (
    EXTRAS,
    PACKAGES,
    CheckStatus,
    bucket_finding,
    clock_finding,
    cpu_finding,
    disk_finding,
    extras_findings,
    gpu_finding,
    gpu_missing,
    packages_finding,
    python_finding,
    rights_finding,
)
from clip_scoring.errors import DeviceLost
from clip_scoring.models import gpus
from clip_scoring.models.gpus import Gpu
from clip_scoring.sources.stored_objects import Listing

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
GIB = 2**30
GOOD = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "pillow": "13.0.0", "numpy": "2.4.6"}


def named(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return found[0]


def test_the_lowest_versions_are_those_that_the_project_declares() -> None:
    declared = {named(each): each for each in PROJECT["dependencies"]}
    for name, lowest in PACKAGES.items():
        assert f">={'.'.join(map(str, lowest))}" in declared[name].split(",")[0]


def test_every_extra_of_the_project_is_looked_for() -> None:
    for extra, requirements in PROJECT["optional-dependencies"].items():
        assert {named(each) for each in requirements} <= {*EXTRAS[extra][0], *PACKAGES}


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 9)])
def test_supported_pythons_pass(version: tuple[int, int, int]) -> None:
    assert python_finding(version).status is CheckStatus.OK


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 13, 0), (4, 11, 0)])
def test_other_pythons_fail_with_those_that_serve(version: tuple[int, int, int]) -> None:
    found = python_finding(version)
    assert found.status is CheckStatus.FAIL
    assert "3.11 or 3.12" in found.remedy


def test_versions_of_packages_are_listed() -> None:
    found = packages_finding(GOOD.get)
    assert found.status is CheckStatus.OK
    assert found.text == "torch 2.13.0+cpu, transformers 5.23.0, pillow 13.0.0, numpy 2.4.6"
    assert not found.remedy


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"torch": "2.7.1+cu128"}, "pip install 'torch>=2.8'"),
        ({"transformers": "4.57.0"}, "pip install 'transformers>=5.20'"),
        ({"pillow": "9.5.0", "numpy": "1.26.4"}, "pip install 'pillow>=12' 'numpy>=2.1'"),
        ({"numpy": None}, "pip install 'numpy>=2.1'"),
    ],
)
def test_old_and_missing_packages_fail_with_what_to_install(
    change: dict[str, str | None], remedy: str
) -> None:
    found = packages_finding((GOOD | change).get)
    assert (found.status, found.remedy) == (CheckStatus.FAIL, remedy)
    assert all(f"{name} {version or 'missing'}" in found.text for name, version in change.items())


def test_an_absent_extra_is_no_fault_and_says_how_to_get_it() -> None:
    airflow = {"apache-airflow": "3.3.2", "apache-airflow-providers-http": "6.3.0"}
    versions = {"onnx": "1.23.2", **airflow}
    found = {each.name: each for each in extras_findings(versions.get)}
    assert (found["airflow"].status, found["airflow"].remedy) == (CheckStatus.OK, "")
    assert found["int8"].status is CheckStatus.SKIP
    assert found["int8"].text == "without onnxruntime"
    assert found["int8"].remedy.endswith("pip install 'clip-scoring[int8]'")


def test_a_cpu_is_told_by_its_cores_and_by_what_it_multiplies_with() -> None:
    found = cpu_finding(2, frozenset({"sse2", "avx2", "amx_bf16"}))
    assert found.status is CheckStatus.OK
    assert found.text == "2 cores for this process; AVX2, no AVX512, no AVX512_BF16, AMX"


def test_a_slow_cpu_is_a_warning() -> None:
    found = cpu_finding(1, frozenset({"sse2"}))
    assert found.status is CheckStatus.WARN
    assert found.text.startswith("1 core for this process")


@pytest.mark.parametrize("flags", [frozenset[str](), frozenset({"asimd", "bf16"})])
def test_a_cpu_of_another_family_is_not_judged_by_its_flags(flags: frozenset[str]) -> None:
    found = cpu_finding(8, flags)
    assert (found.status, found.text) == (CheckStatus.OK, "8 cores for this process")


def test_a_machine_without_a_driver_scores_on_its_cpu() -> None:
    found = gpu_missing("2.13.0+cpu", None, None, "")
    assert (found.status, found.remedy) == (CheckStatus.OK, "")


def test_a_driver_beside_a_torch_for_cpus_is_a_warning_that_names_the_other_torch() -> None:
    found = gpu_missing("2.13.0+cpu", None, "570.86", "")
    assert found.status is CheckStatus.WARN
    assert "built for CPUs alone" in found.text
    assert "built for CUDA" in found.remedy


def test_a_driver_that_torch_complains_about_is_a_warning_with_the_complaint() -> None:
    found = gpu_missing("2.13.0+cu130", "13.0", "470.1", "the driver is too old")
    assert found.status is CheckStatus.WARN
    assert found.text.endswith("the driver is too old")
    assert "update the driver" in found.remedy


@pytest.mark.parametrize(("free", "status"), [(GIB, CheckStatus.OK), (GIB - 1, CheckStatus.WARN)])
def test_a_gpu_that_others_fill_is_a_warning(free: int, status: CheckStatus) -> None:
    found = gpu_finding(Gpu(1, "NVIDIA A10", free, 24 * GIB), "570.86")
    assert found.status is status
    assert "1: NVIDIA A10" in found.text
    assert "1.0 of 24.0 GiB free, driver 570.86" in found.text


@pytest.mark.parametrize(
    ("ahead_s", "status", "text"),
    [
        (-0.04, CheckStatus.OK, "0.0 s from"), (5.0, CheckStatus.OK, "5.0 s from"),
        (5.1, CheckStatus.WARN, "5 s ahead of"), (-7200.0, CheckStatus.WARN, "7200 s behind"),
    ],
)  # fmt: skip
def test_clocks_that_differ_by_more_than_five_seconds_are_a_warning(
    ahead_s: float, status: CheckStatus, text: str
) -> None:
    found = clock_finding(ahead_s)
    assert found.status is status
    assert found.text.startswith(text)
    assert bool(found.remedy) == (status is CheckStatus.WARN)


@pytest.mark.parametrize(
    ("rights", "status", "remedy"),
    [
        (Rights(True, True, False), CheckStatus.OK, ""),
        (Rights(True, False, False), CheckStatus.WARN, "GRANT clip_worker TO nightly"),
        (Rights(True, True, True), CheckStatus.WARN, "primary server"),
        (Rights(False, True, False), CheckStatus.FAIL, "GRANT clip_worker TO nightly"),
    ],
)
def test_a_login_needs_to_read_and_for_runs_to_write(
    rights: Rights, status: CheckStatus, remedy: str
) -> None:
    found = rights_finding("nightly", rights)
    assert found.status is status
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("name", "listing", "status"),
    [
        ("source", Listing.FOUND, CheckStatus.OK), ("source", Listing.EMPTY, CheckStatus.WARN),
        ("source", Listing.DENIED, CheckStatus.FAIL), ("images", Listing.EMPTY, CheckStatus.WARN),
        ("images", Listing.DENIED, CheckStatus.OK), ("exports", Listing.EMPTY, CheckStatus.OK),
        ("exports", Listing.DENIED, CheckStatus.OK),
    ],
)  # fmt: skip
def test_only_a_source_has_to_be_listed_and_exports_may_be_empty(
    name: str, listing: Listing, status: CheckStatus
) -> None:
    found = bucket_finding(name, "s3://media/pairs/", listing)
    assert found.status is status
    assert "s3://media/pairs/" in found.text
    assert bool(found.remedy) == (status is not CheckStatus.OK)


def test_the_place_with_the_least_room_decides() -> None:
    assert disk_finding({"the cache": GIB, "this folder": 9 * GIB}).status is CheckStatus.OK
    found = disk_finding({"the cache": 9 * GIB, "this folder": GIB - 1})
    assert found.status is CheckStatus.WARN
    assert "9.0 GiB free for the cache" in found.text
    assert "CLIP_SCORING_CACHE" in found.remedy


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("script", "driver"),
    [("echo 570.86.15; echo 570.86.15", "570.86.15"), ("exit 9", None), ("true", None)],
)
def test_the_driver_is_asked_for_by_its_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, driver: str | None
) -> None:
    nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.driver_version() == driver


def test_without_that_program_there_is_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.driver_version() is None


def test_what_torch_complains_about_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def complain() -> bool:
        warnings.warn("CUDA initialization: too old\nmore of it", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", complain)
    found = gpus.visible_gpus()
    assert (found.seen, found.complaint) == ((), "CUDA initialization: too old")


def test_each_gpu_that_torch_sees_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (number * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU of type {number}")
    assert gpus.visible_gpus().seen == (
        Gpu(0, "GPU of type 0", 0, 24 * GIB), Gpu(1, "GPU of type 1", GIB, 24 * GIB),
    )  # fmt: skip


def test_a_gpu_that_does_not_answer_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(number: int) -> tuple[int, int]:
        raise RuntimeError("CUDA error: unspecified launch failure\nhints")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", dead)
    with pytest.raises(DeviceLost, match=r"^GPU 0: CUDA error: unspecified launch failure$"):
        gpus.visible_gpus()


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (1.5, False)])
def test_a_gpu_that_multiplies_wrongly_is_lost(
    monkeypatch: pytest.MonkeyPatch, factor: float, right: bool
) -> None:
    ones = torch.full((256, 256), factor)
    monkeypatch.setattr(torch, "ones", lambda *shape, **on: ones)
    if right:
        gpus.require_right_products(3)
        return
    with pytest.raises(DeviceLost, match="GPU 3 multiplies wrongly"):
        gpus.require_right_products(3)
