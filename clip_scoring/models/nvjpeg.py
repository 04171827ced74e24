"""Plain JPEGs decoded and resized on the GPU, many at once; decoder processes do the rest."""

from __future__ import annotations

import asyncio
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

import torch
from PIL import Image

from clip_scoring.errors import DeviceLost, SettingsInvalid
from clip_scoring.geometry import Geometry
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.devices import kind
from clip_scoring.models.embeddings import out_of_memory
from clip_scoring.models.resize import TorchResize, resized_window
from clip_scoring.ports import ImageDecoders, Pixels

MOST_AT_ONCE = 32
_COUNTS = ("device_images", "device_refusals")
_NO_MEMORY = re.compile(r"(nvjpegDecode failed|Failed to (initialize|decode) batch.*): 5\b")
"""NVJPEG_STATUS_ALLOCATOR_FAILURE, as torchcodec words it."""

DecodeJpegs: TypeAlias = Callable[[Sequence[bytes]], Sequence[torch.Tensor]]
"""Makes of each body a tensor of RGB, uint8 (3, height, width), on the device.

It raises a RuntimeError where it cannot decode one of them; of those, OutOfMemoryError and
AcceleratorError say that it is not for the bodies.
"""


def open_nvjpeg(device: str, geometry: Geometry) -> DecodeJpegs:
    """torchcodec's decoder on the GPU, after it has decoded one image.

    Raises SettingsInvalid where it cannot work here, or not for this geometry.
    """
    if kind(device) != "cuda":
        raise SettingsInvalid("tier nvjpeg needs a GPU: take fast")
    _require_resizable(geometry)
    try:
        from torchcodec.decoders import (  # noqa: PLC0415  # an extra
            ImageReadMode,
            decode_jpeg,
        )
    except (ImportError, OSError, RuntimeError) as missing:  # the last where a library is missing
        raise SettingsInvalid(
            "tier nvjpeg needs torchcodec 0.16 or newer: pip install clip-scoring[nvjpeg] "
            f"({_first_line(missing)})"
        ) from missing
    on_device = partial(decode_jpeg, mode=ImageReadMode.RGB, device=device)
    decode = partial(_by_torchcodec, on_device, device)
    _require_working(decode)
    return decode


class DeviceDecoders:
    """Gives bodies that are `plain` to the device, all others to the fallback; for one event loop.

    A body that the device refuses goes to the fallback, too. Which way one goes depends on itself
    alone, never on what else is being decoded, and so do its pixels. One thread waits for the
    device; what has come meanwhile is decoded next, at most MOST_AT_ONCE together.
    """

    on_change: Callable[[], None]
    """Called after `busy` has changed."""

    def __init__(
        self,
        decode_jpegs: DecodeJpegs,
        geometry: Geometry,
        *,
        plain: Callable[[bytes], bool],
        fallback: ImageDecoders,
    ) -> None:
        self.count = fallback.count
        self.on_change = lambda: None
        self._plain, self._fallback = plain, fallback
        fallback.on_change = self._note_change
        self._device = _Device(decode_jpegs, geometry)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode-jpegs")
        self._waiting: list[tuple[bytes, asyncio.Future[Pixels | None]]] = []
        self._decoding: asyncio.Future[list[Pixels | None]] | None = None
        self._counts = Counter(dict.fromkeys(_COUNTS, 0))

    @property
    def busy(self) -> int:
        """Of `count`: all of them while the device decodes, which is as much as it can do."""
        return self._fallback.busy if self._decoding is None else self.count

    async def decode(self, body: bytes) -> Pixels:
        """The pixels of one image; raises what the fallback raises, and DeviceLost."""
        if not self._plain(body):
            return await self._fallback.decode(body)
        pixels = await self._by_device(body)
        if pixels is None:
            self._counts["device_refusals"] += 1
            return await self._fallback.decode(body)
        self._counts["device_images"] += 1
        return pixels

    def drain_metrics(self) -> StageMetrics:
        """Counts of the fallback, and of images that the device decoded and refused."""
        counts, self._counts = self._counts, Counter(dict.fromkeys(_COUNTS, 0))
        return self._fallback.drain_metrics() + StageMetrics(counts=dict(counts))

    async def close(self) -> None:
        """End the thread, when the device has answered, and what the fallback has."""
        while self._decoding is not None:
            await asyncio.wait([self._decoding])
        self._thread.shutdown()
        await self._fallback.close()

    async def _by_device(self, body: bytes) -> Pixels | None:
        pixels: asyncio.Future[Pixels | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((body, pixels))
        self._decode_next()
        return await pixels

    def _decode_next(self) -> None:
        """Give the thread what waits, unless it is at work."""
        wanted = [other for other in self._waiting if not other[1].done()]
        if self._decoding is not None or not wanted:
            return
        taken, self._waiting = wanted[:MOST_AT_ONCE], wanted[MOST_AT_ONCE:]
        self._decoding = asyncio.get_running_loop().run_in_executor(
            self._thread, self._device.pixels, [body for body, _ in taken]
        )
        self._decoding.add_done_callback(partial(self._hand_out, [future for _, future in taken]))
        self._note_change()

    def _hand_out(
        self,
        asked: Sequence[asyncio.Future[Pixels | None]],
        decoded: asyncio.Future[list[Pixels | None]],
    ) -> None:
        self._decoding = None
        failed = decoded.exception()
        for at, pixels in enumerate(asked):
            if pixels.done():  # cancelled meanwhile
                continue
            if failed is not None:
                pixels.set_exception(failed)
            else:
                pixels.set_result(decoded.result()[at])
        self._decode_next()
        self._note_change()

    def _note_change(self) -> None:
        self.on_change()


class _Device:
    """The device as one thread sees it: every failure is a body's own, or ends the task."""

    def __init__(self, decode_jpegs: DecodeJpegs, geometry: Geometry) -> None:
        self._decode_jpegs, self._geometry = decode_jpegs, geometry

    def pixels(self, bodies: Sequence[bytes]) -> list[Pixels | None]:
        """Pixels of each body, None where the device refuses it alone; raises DeviceLost."""
        try:
            return list(self._made(bodies))
        except RuntimeError as failed:
            short = _short_of_memory(failed)
        # Only here, since what failed holds memory of the device while it is handled.
        if len(bodies) > 1:
            return [self.pixels([body])[0] for body in bodies]
        return [self._once_more(bodies[0]) if short else None]

    def _once_more(self, body: bytes) -> Pixels | None:
        """A body that memory was short for: the fallback would make pixels depend on the moment."""
        torch.cuda.empty_cache()
        try:
            return self._made([body])[0]
        except RuntimeError as failed:
            if _short_of_memory(failed):
                raise DeviceLost(
                    f"no memory to decode one image: {_first_line(failed)}"
                ) from failed
            return None

    @torch.inference_mode()
    def _made(self, bodies: Sequence[bytes]) -> Sequence[Pixels]:
        resized = torch.stack([self._resized(jpeg) for jpeg in self._decode_jpegs(bodies)])
        levels = resized.round_().clamp_(0, 255).to(torch.uint8)
        pixels: Pixels = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return list(pixels)

    def _resized(self, image: torch.Tensor) -> torch.Tensor:
        _, down, across = image.shape
        width, height = self._geometry.target(across, down)
        return resized_window(
            image,
            extent=(down, across),
            size=(height, width),
            window=self._geometry.window(width, height),
            kernel=self._geometry.resample,
            dtype=torch.float32,
        )


def _short_of_memory(failed: RuntimeError) -> bool:
    """Whether memory was short; False blames a body. Raises DeviceLost where the device is dead."""
    if out_of_memory(failed) or _NO_MEMORY.search(str(failed)):
        return True
    if isinstance(failed, torch.AcceleratorError):
        raise DeviceLost(f"decoding JPEG: {_first_line(failed)}") from failed
    return False


def _by_torchcodec(
    decode_jpeg: Callable[[list[torch.Tensor]], list[torch.Tensor]],
    device: str,
    bodies: Sequence[bytes],
) -> list[torch.Tensor]:
    # Copies, since torch warns of memory that may not be written.
    encoded = [torch.frombuffer(bytearray(body), dtype=torch.uint8) for body in bodies]
    try:
        return decode_jpeg(encoded)
    except RuntimeError:
        torch.cuda.synchronize(device)  # a dead device raises here what it is
        raise


def _require_resizable(geometry: Geometry) -> None:
    known = geometry.resample in TorchResize.kernels
    # Of the smallest image that is cut: on a square, neither side is longer than it has to be.
    inside = min(geometry.window(*geometry.target(1, 1))) >= 0
    if not known or not inside:
        raise SettingsInvalid(
            "tier nvjpeg resizes bilinear or bicubic, to no less than the crop; "
            "these weights want something else: take fast"
        )


def _require_working(decode_jpegs: DecodeJpegs) -> None:
    """Without this, a build for CPUs would refuse every image, and each would go another way."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 40)).save(stream, "JPEG")
    try:
        decode_jpegs([stream.getvalue()])
    except RuntimeError as failed:
        if _short_of_memory(failed):
            raise DeviceLost(f"no memory to decode one image: {_first_line(failed)}") from failed
        raise SettingsInvalid(
            f"tier nvjpeg: this GPU decodes nothing ({_first_line(failed)}): take fast"
        ) from failed


def _first_line(failed: BaseException) -> str:
    return str(failed).splitlines()[0] if str(failed) else type(failed).__name__
