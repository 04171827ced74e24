"""A pool of decoder processes: an image that kills its decoder costs its own record only."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from clip_scoring.errors import DecoderBroken
from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Geometry
from clip_scoring.images.decoder_process import BODY_LIMIT, DecoderProcess, Died
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.metrics import StageMetrics
from clip_scoring.ports import Pixels
from clip_scoring.records import Reason

_START_SECONDS = 120.0
"""A cold disk may take a minute to give what a decoder imports."""
_TRIES = 2
"""A process may have been killed from outside, or time have passed while the whole worker stood
still; an image that costs two of them did it."""
_COUNTS = ("decoder_crashes", "decoder_timeouts", "decoder_starts")


def decoder_command(geometry: Geometry, tier: Tier) -> list[str]:
    """The command that starts a decoder process for images of this geometry."""
    return [sys.executable, "-m", "clip_scoring.decoder", json.dumps(asdict(geometry)), tier]


class Decoders:
    """Up to `count` processes of `command`, started as they are needed; for one event loop.

    `shape` is that of the pixels, and `seconds` how long one image may take.
    """

    busy: int
    """Processes that are decoding, or being started for a body that waits."""
    on_change: Callable[[], None]
    """Called after `busy` has changed."""

    def __init__(
        self,
        command: Sequence[str],
        shape: tuple[int, int, int],
        *,
        count: int,
        seconds: float = 20.0,
    ) -> None:
        self.count = count
        self.busy = 0
        self.on_change = lambda: None
        self._command, self._shape, self._seconds = tuple(command), shape, seconds
        self._free = asyncio.Semaphore(count)
        self._idle: list[DecoderProcess] = []
        self._counts = Counter(dict.fromkeys(_COUNTS, 0))

    async def decode(self, body: bytes) -> Pixels:
        """The pixels of one image, by the next process that is free.

        Raises ImageRejected, and DecoderBroken where no process can be started.
        """
        if len(body) > BODY_LIMIT:
            raise ImageRejected(Reason.IMAGE_TOO_LARGE, f"{len(body)} bytes, limit {BODY_LIMIT}")
        async with self._free:
            self._change_busy(1)
            try:
                return await self._decode_by_one(body)
            finally:
                self._change_busy(-1)

    def drain_metrics(self) -> StageMetrics:
        """How many processes crashed, took too long and were started since this was asked last."""
        counts, self._counts = self._counts, Counter(dict.fromkeys(_COUNTS, 0))
        return StageMetrics(counts=dict(counts))

    async def close(self) -> None:
        """End the processes; nothing may be decoding any more."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(decoder.end() for decoder in idle))

    async def _decode_by_one(self, body: bytes) -> Pixels:
        why = ""
        for _ in range(_TRIES):
            # After a crash a fresh one, since idle ones may have been killed together.
            process = self._idle.pop() if self._idle and not why else await self._started()
            try:
                return await self._within_time(process, body)
            except Died:
                why = f"ended, by {await process.end()}"
                self._counts["decoder_crashes"] += 1
            except TimeoutError:
                await process.end()
                why = f"took more than {self._seconds:g} s"
                self._counts["decoder_timeouts"] += 1
        raise ImageRejected(Reason.IMAGE_DECODER_CRASHED, f"two decoders {why}")

    async def _within_time(self, process: DecoderProcess, body: bytes) -> Pixels:
        try:
            async with asyncio.timeout(self._seconds):
                pixels = await process.decode(body)
        except ImageRejected:
            self._idle.append(process)
            raise
        except asyncio.CancelledError:
            await process.end()
            raise
        self._idle.append(process)
        return pixels

    async def _started(self) -> DecoderProcess:
        self._counts["decoder_starts"] += 1
        try:
            process = DecoderProcess(self._command, self._shape)
        except OSError as broken:
            raise DecoderBroken(f"decoder process: {self._command[0]}: {broken}") from broken
        try:
            async with asyncio.timeout(_START_SECONDS):
                await process.ready()
        except (Died, TimeoutError):
            ended = await process.end()
            raise DecoderBroken(
                f"decoder process: ended by {ended} before it was ready; its stderr says why"
            ) from None
        except asyncio.CancelledError:
            await process.end()
            raise
        return process

    def _change_busy(self, by: int) -> None:
        self.busy += by
        self.on_change()
