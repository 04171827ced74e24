"""The device and its number formats are what was asked for, or refused with the reason."""

from __future__ import annotations

import pytest
import torch

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype
from clip_scoring.models.devices import choose_device, cpu_flags, require_dtype, usual_dtype

OLD = frozenset({"fpu", "avx", "avx2", "avx512f"})


@pytest.fixture(params=[True, False], ids=["GPU", "no GPU"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return bool(request.param)


def test_auto_takes_the_gpu_where_there_is_one(gpu: bool) -> None:
    assert choose_device() == ("cuda" if gpu else "cpu")


def test_cpu_is_taken_beside_a_gpu_when_asked_for(gpu: bool) -> None:
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize(("wanted", "require_gpu"), [("cuda", False), ("auto", True)])
def test_a_gpu_that_is_required_is_never_replaced_by_the_cpu(
    gpu: bool, wanted: str, require_gpu: bool
) -> None:
    if gpu:
        assert choose_device(wanted, require_gpu=require_gpu) == "cuda"
        return
    with pytest.raises(SettingsInvalid, match=r"a GPU is required, but torch .* sees none"):
        choose_device(wanted, require_gpu=require_gpu)


def test_contradictory_and_unknown_devices_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match="required and device is cpu"):
        choose_device("cpu", require_gpu=True)
    with pytest.raises(SettingsInvalid, match="'tpu' is not one of"):
        choose_device("tpu")


def test_the_usual_format_is_half_precision_on_gpus_only() -> None:
    assert (usual_dtype("cuda"), usual_dtype("cpu")) == (Dtype.FLOAT16, Dtype.FLOAT32)


@pytest.mark.parametrize(
    ("dtype", "device", "flags"),
    [
        (Dtype.FLOAT32, "cpu", OLD), (Dtype.INT8, "cpu", OLD),
        (Dtype.BFLOAT16, "cpu", OLD | {"amx_bf16"}), (Dtype.BFLOAT16, "cpu", OLD | {"avx512_bf16"}),
        (Dtype.FLOAT32, "cuda", OLD), (Dtype.FLOAT16, "cuda", OLD), (Dtype.BFLOAT16, "cuda", OLD),
    ],
)  # fmt: skip
def test_formats_that_the_device_computes_in_pass(
    dtype: Dtype, device: str, flags: frozenset[str]
) -> None:
    require_dtype(dtype, device, flags=flags)


@pytest.mark.parametrize(
    ("dtype", "device", "reason"),
    [
        (Dtype.FLOAT16, "cpu", "float16 needs a GPU"),
        (Dtype.BFLOAT16, "cpu", "AVX512_BF16 or AMX, which this one has not"),
        (Dtype.INT8, "cuda", "int8 is for CPUs"),
    ],
)
def test_formats_that_would_be_emulated_are_refused(dtype: Dtype, device: str, reason: str) -> None:
    with pytest.raises(SettingsInvalid, match=reason):
        require_dtype(dtype, device, flags=OLD)


def test_the_flags_of_this_processor_are_read() -> None:
    assert all(flag.islower() for flag in cpu_flags())
    assert cpu_flags()


@pytest.mark.parametrize("gpu", [True], indirect=True, ids=["GPU"])
def test_one_of_several_gpus_is_taken_by_its_number(gpu: bool) -> None:
    assert choose_device("cuda:1") == "cuda:1"
    assert usual_dtype("cuda:1") is Dtype.FLOAT16
    with pytest.raises(SettingsInvalid, match="torch sees GPUs 0 to 1"):
        choose_device("cuda:2")
