"""Tier nvjpeg with a device that Pillow stands in for: who decodes what, and what failures cost."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from threading import Event
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clip_scoring import wiring as parts
from clip_scoring.errors import DeviceLost, SettingsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decode import decode, is_plain_jpeg
from clip_scoring.images.decoder_process import BODY_LIMIT
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.loader import ImageLoader
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.clip import open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.nvjpeg import MOST_AT_ONCE, DeviceDecoders, open_nvjpeg
from clip_scoring.models.reference import reference_similarities
from clip_scoring.models.resize import TorchResize
from clip_scoring.models.weights import open_weights
from clip_scoring.ports import Pixels
from clip_scoring.selftest import self_test
from clip_scoring.settings.environment import Compute, Settings
from clip_scoring.settings.registrations import Registrations
from tests.unit.test_decode import encoded, shortest
from tests.unit.test_tier_fast import photograph

GEOMETRY = shortest(32, (32, 32))
THREAD = "decode-jpegs"


def jpeg(shade: int = 90, **options: object) -> bytes:
    return encoded(Image.new("RGB", (48, 40), (shade, 60, 30)), "JPEG", **options)


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif)


GOOD = jpeg()
REFUSED = jpeg(1)
PNG = encoded(Image.new("RGB", (48, 40)), "PNG")


class Device:
    """Decodes by Pillow; refuses REFUSED, and notes how many bodies each call has.

    `failures` are those of the next calls, `of_many` that of every call with several bodies.
    """

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.failures: list[Exception] = []
        self.of_many: Exception | None = None
        self.in_time = True
        self.entered, self.let_go = Event(), Event()
        self.let_go.set()

    def __call__(self, bodies: Sequence[bytes]) -> list[torch.Tensor]:
        self.calls.append(len(bodies))
        self.entered.set()
        self.in_time = self.let_go.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        if self.of_many and len(bodies) > 1:
            raise self.of_many
        if REFUSED in bodies:
            raise RuntimeError("nvjpegDecode failed: 3")
        return [decoded(each) for each in bodies]


def decoded(body: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(body)) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class Fallback:
    """Tier fast in this process; notes what it decodes."""

    def __init__(self, geometry: Geometry) -> None:
        self.count, self.busy = 2, 0
        self.on_change: Callable[[], None] = lambda: None
        self.bodies: list[bytes] = []
        self.closed = False
        self._geometry = geometry

    async def decode(self, body: bytes) -> Pixels:
        self.bodies.append(body)
        return decode(body, self._geometry, TorchResize())

    def drain_metrics(self) -> StageMetrics:
        return StageMetrics(counts={"decoder_starts": 1})

    async def close(self) -> None:
        self.closed = True


class Bench:
    """The decoders under test with their stand-ins."""

    def __init__(self, geometry: Geometry = GEOMETRY) -> None:
        self.device, self.fallback = Device(), Fallback(geometry)
        self.decoders = DeviceDecoders(
            self.device, geometry, plain=is_plain_jpeg, fallback=self.fallback
        )

    async def all(self, *bodies: bytes) -> list[Pixels | BaseException]:
        """The first body goes to the device alone; the others have come when it is done."""
        self.device.let_go.clear()
        tasks = [asyncio.create_task(self.decoders.decode(each)) for each in bodies]
        asyncio.get_running_loop().call_soon(self.device.let_go.set)
        return await asyncio.gather(*tasks, return_exceptions=True)


def using(work: Callable[[Bench], Awaitable[None]], geometry: Geometry = GEOMETRY) -> None:
    async def main() -> None:
        bench = Bench(geometry)
        async with asyncio.timeout(20):
            try:
                await work(bench)
            finally:
                bench.device.let_go.set()
                await bench.decoders.close()
        assert bench.device.in_time, "the loop stood still"
        assert bench.fallback.closed
        assert not threads()

    asyncio.run(main())


def threads() -> list[str]:
    """Names of those that wait for a device."""
    return [each.name for each in threading.enumerate() if each.name.startswith(THREAD)]


def by_fast(body: bytes) -> Pixels:
    return decode(body, GEOMETRY, TorchResize())


def test_a_plain_jpeg_goes_to_the_device_and_all_else_to_the_fallback() -> None:
    async def work(bench: Bench) -> None:
        for body in (GOOD, PNG, rotated(6), GOOD):
            await bench.decoders.decode(body)
        assert bench.device.calls == [1, 1]
        assert bench.fallback.bodies == [PNG, rotated(6)]
        assert bench.decoders.drain_metrics().counts == {
            "decoder_starts": 1, "device_images": 2, "device_refusals": 0
        }  # fmt: skip

    using(work)


def test_what_waits_is_decoded_together_and_at_most_32_at_once() -> None:
    bodies = [jpeg(shade) for shade in range(100, 170)]

    async def work(bench: Bench) -> None:
        found = await bench.all(*bodies)
        assert bench.device.calls == [1, MOST_AT_ONCE, MOST_AT_ONCE, 5]
        for pixels, body in zip(found, bodies, strict=True):
            assert np.abs(pixels.astype(int) - by_fast(body)).max() <= 1

    using(work)


def test_a_body_that_the_device_refuses_costs_itself_only() -> None:
    async def work(bench: Bench) -> None:
        await bench.all(jpeg(100), jpeg(101), REFUSED, jpeg(102))
        assert bench.device.calls == [1, 3, 1, 1, 1]
        assert bench.fallback.bodies == [REFUSED]
        assert bench.decoders.drain_metrics().counts["device_refusals"] == 1

    using(work)


def test_a_broken_jpeg_is_refused_with_the_reason_of_the_fallback() -> None:
    broken = GOOD[:300] + b"\xff\xd9"

    async def work(bench: Bench) -> None:
        good, bad, other = await bench.all(GOOD, broken, jpeg(100))
        assert isinstance(bad, ImageRejected)
        assert all(isinstance(each, np.ndarray) for each in (good, other))

    using(work)


def test_pixels_do_not_depend_on_what_else_is_decoded_or_fails() -> None:
    async def work(bench: Bench) -> None:
        alone = await bench.decoders.decode(GOOD)
        found = await bench.all(jpeg(100), jpeg(101), GOOD)
        np.testing.assert_array_equal(found[2], alone)
        bench.device.of_many = torch.OutOfMemoryError("all of them")
        found = await bench.all(jpeg(100), REFUSED, GOOD)
        np.testing.assert_array_equal(found[2], alone)
        assert GOOD not in bench.fallback.bodies

    using(work)


@pytest.mark.parametrize(
    "failure",
    [RuntimeError("something about all of them"), torch.OutOfMemoryError("all of them"),
     RuntimeError("Failed to decode batch: 5")],
    ids=str,
)  # fmt: skip
def test_when_a_whole_call_fails_each_body_is_tried_alone(failure: Exception) -> None:
    async def work(bench: Bench) -> None:
        bench.device.of_many = failure
        found = await bench.all(GOOD, jpeg(100), jpeg(101), jpeg(102))
        assert bench.device.calls == [1, 3, 1, 1, 1]
        assert all(isinstance(each, np.ndarray) for each in found)
        assert not bench.fallback.bodies

    using(work)


def test_one_body_that_memory_is_short_for_is_tried_once_more() -> None:
    async def work(bench: Bench) -> None:
        bench.device.failures = [torch.OutOfMemoryError("alone")]
        await bench.decoders.decode(GOOD)
        assert bench.device.calls == [1, 1]
        assert not bench.fallback.bodies

    using(work)


@pytest.mark.parametrize(
    "failures",
    [[torch.OutOfMemoryError("alone"), torch.OutOfMemoryError("and again")],
     [RuntimeError("nvjpegDecode failed: 5"), RuntimeError("nvjpegDecode failed: 5")],
     [torch.AcceleratorError("CUDA error: an illegal memory access\nmore lines")]],
    ids=["memory", "memory of nvJPEG", "dead device"],
)  # fmt: skip
def test_a_device_that_cannot_go_on_ends_the_task(failures: list[Exception]) -> None:
    async def work(bench: Bench) -> None:
        bench.device.failures = list(failures)
        with pytest.raises(DeviceLost) as raised:
            await bench.decoders.decode(GOOD)
        assert "\n" not in str(raised.value)
        assert not bench.fallback.bodies

    using(work)


def test_everybody_who_waits_for_a_dead_device_learns_it() -> None:
    async def work(bench: Bench) -> None:
        bench.device.failures = [torch.AcceleratorError("CUDA error: x") for _ in range(2)]
        found = await bench.all(GOOD, jpeg(100), jpeg(101))
        assert [type(each) for each in found] == [DeviceLost] * 3

    using(work)


def test_a_body_that_nobody_waits_for_any_more_is_not_decoded() -> None:
    async def work(bench: Bench) -> None:
        bench.device.let_go.clear()
        first = asyncio.create_task(bench.decoders.decode(GOOD))
        others = [asyncio.create_task(bench.decoders.decode(jpeg(each))) for each in (100, 101)]
        await asyncio.to_thread(bench.device.entered.wait)
        first.cancel()
        others[0].cancel()
        await asyncio.wait([first, others[0]])
        bench.device.let_go.set()
        await others[1]
        assert bench.device.calls == [1, 1]

    using(work)


def test_closing_waits_for_the_device_and_leaves_no_thread() -> None:
    async def work(bench: Bench) -> None:
        bench.device.let_go.clear()
        asked = asyncio.create_task(bench.decoders.decode(GOOD))
        waiting = asyncio.create_task(bench.decoders.decode(jpeg(100)))
        await asyncio.to_thread(bench.device.entered.wait)
        asked.cancel()
        waiting.cancel()
        await asyncio.wait([asked, waiting])
        asyncio.get_running_loop().call_soon(bench.device.let_go.set)
        await bench.decoders.close()
        assert bench.device.calls == [1]

    using(work)


def test_all_decoders_count_as_busy_while_the_device_is() -> None:
    seen: list[int] = []

    async def work(bench: Bench) -> None:
        bench.decoders.on_change = lambda: seen.append(bench.decoders.busy)
        await bench.decoders.decode(GOOD)
        bench.fallback.busy = 1
        bench.fallback.on_change()
        assert seen == [2, 0, 1]

    using(work)


@pytest.mark.parametrize(
    "geometry",
    [shortest(64, (64, 64)), shortest(70, (64, 60), 2), Geometry(Fit.STRETCH, 64, 56, 3, None)],
    ids=["bicubic", "bilinear", "stretched"],
)
@pytest.mark.parametrize("size", [(640, 480), (300, 900), (64, 64), (40, 30)], ids=str)
def test_pixels_are_those_of_both_other_tiers_within_few_levels(
    geometry: Geometry, size: tuple[int, int]
) -> None:
    body = encoded(photograph(*size), "JPEG", quality=90)

    async def work(bench: Bench) -> None:
        pixels = await bench.decoders.decode(body)
        assert bench.device.calls == [1]
        assert (pixels.shape, pixels.dtype) == (geometry.shape, np.uint8)
        assert pixels.flags.c_contiguous
        assert np.abs(pixels.astype(int) - decode(body, geometry)).max() <= 2
        # Tier fast, which decodes at a reduced scale, may be as far off on the other side.
        assert np.abs(pixels.astype(int) - decode(body, geometry, TorchResize())).max() <= 3

    using(work, geometry)


def test_a_loader_with_a_device_passes_the_self_test_and_closes() -> None:
    weights = open_weights("tiny")
    device, fallback = Device(), Fallback(weights.geometry)
    decoders = DeviceDecoders(device, weights.geometry, plain=is_plain_jpeg, fallback=fallback)
    nowhere = Fetcher(http=HttpFetcher(HttpPolicy()), roots=[], open_objects=None)
    scorer = open_clip(
        weights, weights.fingerprint(tier=Tier.NVJPEG, dtype=Dtype.FLOAT32), ComputeOptions()
    )
    with closing(ImageLoader(nowhere, decoders)) as loader:
        self_test(
            loader,
            scorer,
            partial(reference_similarities, weights, scorer.float32_model),
            lambda body: decode(body, weights.geometry),
        )
    assert (device.calls, len(fallback.bodies), fallback.closed) == ([1], 2, True)
    assert not threads()


def with_sof_ids(body: bytes, ids: bytes) -> bytes:
    """The same JPEG with other numbers for its components."""
    frame, scan = body.index(b"\xff\xc0"), body.index(b"\xff\xda")
    changed = bytearray(body)
    for at, number in enumerate(ids):
        changed[frame + 10 + 3 * at] = changed[scan + 5 + 2 * at] = number
    return bytes(changed)


def with_scan_at(body: bytes, place: int) -> bytes:
    """The same JPEG with comments between its size and its pixels."""
    scan = body.index(b"\xff\xda")
    missing = place - scan
    comments = [60_000, 60_000, missing - 120_000]
    between = b"".join(with_segment(b"", 0xFE, bytes(each - 4)) for each in comments)
    return body[:scan] + between + body[scan:]


def with_segment(body: bytes, marker: int, content: bytes, times: int = 1) -> bytes:
    segment = bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
    return body[:2] + segment * times + body[2:]


@pytest.mark.parametrize(
    "body",
    [GOOD, jpeg(progressive=True), jpeg(subsampling="4:4:4"), rotated(1),
     with_segment(GOOD, 0xE1, b"Exif\0\0MM nonsense"),
     with_segment(GOOD, 0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x01")],
    ids=["baseline", "progressive", "4:4:4", "upright", "EXIF that turns nothing", "Adobe YCbCr"],
)  # fmt: skip
def test_a_jpeg_that_all_decoders_read_alike_is_plain(body: bytes) -> None:
    assert is_plain_jpeg(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", PNG, GOOD[:-2], GOOD + b"\0", GOOD[:100] + b"\xff\xd9", rotated(6),
        encoded(Image.new("L", (48, 40)), "JPEG"), encoded(Image.new("CMYK", (48, 40)), "JPEG"),
        with_segment(GOOD, 0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x00"),
        with_sof_ids(GOOD, b"RGB"),
        encoded(Image.new("RGB", (1, 51)), "JPEG"),
        GOOD.replace((40).to_bytes(2, "big") + (48).to_bytes(2, "big"), b"\x40\x00\x40\x00"),
        with_segment(GOOD, 0xFE, bytes(60_000), times=3),
        with_scan_at(GOOD, 128 * 1024),
        GOOD[:-2] + bytes(BODY_LIMIT) + b"\xff\xd9",
    ],
    ids=["empty", "PNG", "no end", "more behind the end", "no pixels", "turned", "grey", "CMYK",
         "Adobe RGB", "components R, G, B", "ratio over 50",
         "too many pixels", "long before the size",
         "long before the pixels", "too large"],
)  # fmt: skip
def test_any_other_body_is_not_plain(body: bytes) -> None:
    assert not is_plain_jpeg(body)


def torchcodec(decode_jpeg: Callable[..., object], patch: pytest.MonkeyPatch) -> None:
    """Install a stand-in of the package, and of what torch lacks without a GPU."""
    package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
    decoders.__dict__.update(decode_jpeg=decode_jpeg, ImageReadMode=type("M", (), {"RGB": "RGB"}))
    patch.setitem(sys.modules, "torchcodec", package)
    patch.setitem(sys.modules, "torchcodec.decoders", decoders)
    patch.setattr(torch.cuda, "synchronize", lambda device: None)


def test_torchcodec_gets_a_list_of_bytes_as_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode_jpeg(source: Any, *, mode: str, device: str) -> list[torch.Tensor]:
        assert (type(source), mode, device) == (list, "RGB", "cuda")
        assert {(each.dtype, each.ndim) for each in source} == {(torch.uint8, 1)}
        return [decoded(each.numpy().tobytes()) for each in source]

    torchcodec(decode_jpeg, monkeypatch)
    found = open_nvjpeg("cuda", GEOMETRY)([GOOD, jpeg(100)])
    assert [tuple(each.shape) for each in found] == [(3, 40, 48)] * 2


def raising(error: Exception) -> Callable[..., object]:
    def decode_jpeg(source: object, **options: object) -> object:
        raise error

    return decode_jpeg


def test_a_build_that_decodes_nothing_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torchcodec(raising(RuntimeError("built without CUDA\nat line 7")), monkeypatch)
    with pytest.raises(SettingsInvalid, match=r"decodes nothing \(built without CUDA\): take fast"):
        open_nvjpeg("cuda", GEOMETRY)


def test_a_gpu_without_memory_at_the_start_may_have_some_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torchcodec(raising(torch.OutOfMemoryError("full")), monkeypatch)
    with pytest.raises(DeviceLost, match="full"):
        open_nvjpeg("cuda", GEOMETRY)


def test_without_torchcodec_the_refusal_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(SettingsInvalid, match=r"pip install clip-scoring\[nvjpeg\]"):
        open_nvjpeg("cuda", GEOMETRY)


@pytest.mark.parametrize("geometry", [shortest(32, (32, 32), 1), shortest(24, (32, 32))])
def test_what_only_pillow_resizes_is_refused(geometry: Geometry) -> None:
    with pytest.raises(SettingsInvalid, match="bilinear or bicubic"):
        open_nvjpeg("cuda", geometry)


def test_a_worker_without_a_gpu_is_refused() -> None:
    settings = Settings(Registrations({}, {}), compute=Compute(device="cpu"))
    with pytest.raises(SettingsInvalid, match=r"^tier nvjpeg needs a GPU: take fast$"):
        parts._decoders(settings, GEOMETRY, tier=Tier.NVJPEG, count=1)
