"""Malformed images through real decoder processes, with good ones between them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import PIL

from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.rejected import ImageRejected
from tests.hostile.images.malformed import Malformed, malformed
from tests.hostile.images.seeds import encoded, photograph

GEOMETRY = Geometry(Fit.SHORTEST_EDGE, 224, 224, 3, (224, 224))
TIERS = [Tier.EXACT, Tier.FAST]
"""Those that a decoder process has."""
_SECONDS = 20.0
_GOOD_EVERY = 10
"""After so many malformed images a good one is decoded, whose pixels are known."""


@dataclass
class Report:
    """What became of the malformed images and of their neighbours."""

    tier: Tier
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    """`pixels`, or the reason of the one refusal."""
    mutations: Counter[str] = field(default_factory=Counter)
    neighbours: int = 0
    neighbours_changed: int = 0
    strays: list[str] = field(default_factory=list)
    """What was neither pixels nor a refusal of the image group."""
    decoders: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    seconds: float = 0.0
    decoder_peak_mb: int = 0
    worker_growth_mb: int = 0
    """Memory of the parent after everything, less that after a tenth of it."""

    @property
    def red(self) -> dict[str, int]:
        """Figures that have to be 0 and are not."""
        figures = {
            "neighbours changed": self.neighbours_changed,
            "strays": len(self.strays),
            "crashes": self.decoders["decoder_crashes"],
            "hangs": self.decoders["decoder_timeouts"],
        }
        return {name: figure for name, figure in figures.items() if figure}

    def as_json(self) -> dict[str, Any]:
        images = self.outcomes.total() + self.neighbours
        return {
            "tier": self.tier,
            "seed": self.seed,
            "malformed": self.outcomes.total(),
            "outcomes": dict(self.outcomes.most_common()),
            "mutations": dict(sorted(self.mutations.items())),
            "crashes": self.decoders["decoder_crashes"],
            "hangs": self.decoders["decoder_timeouts"],
            "decoders_started": self.decoders["decoder_starts"],
            "strays": self.strays,
            "neighbours": self.neighbours,
            "neighbours_changed": self.neighbours_changed,
            "slowest_s": round(self.slowest_s, 2),
            "decoder_peak_mb": self.decoder_peak_mb,
            "worker_growth_mb": self.worker_growth_mb,
            "images_per_s": round(images / self.seconds, 1),
            "minutes": round(self.seconds / 60, 2),
        }


def try_malformed(tier: Tier, *, count: int, seed: int, processes: int = 2) -> Report:
    """Decode the first `count` malformed images of a seed."""
    return asyncio.run(_tried(Report(tier, seed), count, processes))


def document(reports: list[Report]) -> dict[str, Any]:
    """A file of results: one trial for each tier, and the machine."""
    return {
        "machine": {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
            "pillow": PIL.__version__,
        },
        "trials": [each.as_json() for each in reports],
    }


async def _tried(report: Report, count: int, processes: int) -> Report:
    decoders = Decoders(
        decoder_command(GEOMETRY, report.tier), GEOMETRY.shape, count=processes, seconds=_SECONDS
    )
    try:
        good = [encoded(photograph(300, 200, seed), "JPEG") for seed in range(5)]
        known = [_digest(await decoders.decode(each)) for each in good]
        trial = _Trial(report, decoders, list(zip(good, known, strict=True)))
        started = monotonic()
        await trial.run(islice(malformed(report.seed), count), count, 2 * processes)
        report.seconds = monotonic() - started
        report.decoders = dict(decoders.drain_metrics().counts)
    finally:
        await decoders.close()
    # Of all children of this process; those of a trial before this one count too.
    report.decoder_peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000
    return report


@dataclass
class _Trial:
    report: Report
    decoders: Decoders
    good: list[tuple[bytes, str]]

    async def run(self, images: Iterator[Malformed], count: int, tasks: int) -> None:
        """A tenth of the images, then the rest, which may not need more memory."""
        await self._run(islice(images, count // 10), tasks)
        before = _resident_mb()
        await self._run(images, tasks)
        self.report.worker_growth_mb = _resident_mb() - before

    async def _run(self, images: Iterator[Malformed], tasks: int) -> None:
        await asyncio.gather(*(self._take(images) for _ in range(tasks)))

    async def _take(self, images: Iterator[Malformed]) -> None:
        for image in images:
            started = monotonic()
            self.report.outcomes[await self._outcome(image)] += 1
            self.report.slowest_s = max(self.report.slowest_s, monotonic() - started)
            self.report.mutations[image.mutation] += 1
            if self.report.outcomes.total() % _GOOD_EVERY == 0:
                await self._look_at_a_neighbour()

    async def _outcome(self, image: Malformed) -> str:
        try:
            pixels = await self.decoders.decode(image.body)
        except ImageRejected as refused:
            reason = refused.rejection.reason
            if reason.startswith("image_"):
                return str(reason)
            self.report.strays.append(f"{image.seed}, {image.mutation}: {reason}")
            return str(reason)
        if pixels.shape != GEOMETRY.shape:
            self.report.strays.append(f"{image.seed}, {image.mutation}: shape {pixels.shape}")
        return "pixels"

    async def _look_at_a_neighbour(self) -> None:
        body, digest = self.good[self.report.neighbours % len(self.good)]
        self.report.neighbours += 1
        if _digest(await self.decoders.decode(body)) != digest:
            self.report.neighbours_changed += 1


def _digest(pixels: Any) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 10**6
