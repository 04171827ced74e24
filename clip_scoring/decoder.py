"""`python -m clip_scoring.decoder GEOMETRY TIER SOCKET MEMORY`: the process that may die."""

from __future__ import annotations

import json
import mmap
import os
import resource
import socket
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decode import Resize, decode
from clip_scoring.images.decoder_process import BODY_LIMIT, PIXELS, READY
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.processes import die_with_parent

_MEMORY_FOR_ONE_IMAGE = 3 * 2**29
"""Bytes beyond what the process needs by itself: 50 million pixels, six times over."""
_FEWEST_PIXELS = 128


def main(geometry: str, tier: str, channel: str, memory: str) -> None:
    """Decode the bodies that are announced on the socket until it is closed."""
    die_with_parent()  # an orphan would otherwise finish its image first
    warnings.simplefilter("ignore")  # what matters of an odd file becomes a refusal
    wanted = _geometry(geometry)
    resize = resize_of(Tier(tier), wanted)
    with (
        socket.socket(fileno=int(channel)) as announced,
        mmap.mmap(int(memory), 0) as shared,
        announced.makefile("rb") as lengths,
    ):
        _limit()
        announced.sendall(READY)
        for length in lengths:
            announced.sendall(_answer(shared, int(length), wanted, resize))


def _answer(shared: mmap.mmap, length: int, geometry: Geometry, resize: Resize | None) -> bytes:
    try:
        pixels = decode(shared[:length], geometry, resize)
    except ImageRejected as refused:
        rejection = refused.rejection
        return json.dumps([rejection.reason, rejection.detail]).encode() + b"\n"
    shared[BODY_LIMIT : BODY_LIMIT + pixels.nbytes] = pixels.data.cast("B")
    return PIXELS


def _geometry(text: str) -> Geometry:
    tree = json.loads(text)
    crop = tree["crop"] and tuple(tree["crop"])
    return Geometry(**{**tree, "fit": Fit(tree["fit"]), "crop": crop})


def resize_of(tier: Tier, geometry: Geometry) -> Resize | None:
    """The resize of this tier; None resizes exactly.

    Also in tier `fast` where the towers take small images: there each level of a pixel counts.
    """
    if tier not in {Tier.EXACT, Tier.FAST}:
        raise ValueError(f"tier {tier} is none of a decoder process")
    if tier is Tier.EXACT or min(geometry.shape[:2]) < _FEWEST_PIXELS:
        return None
    from clip_scoring.models.resize import (  # noqa: PLC0415  # torch takes seconds
        TorchResize,
        use_one_thread,
    )

    use_one_thread()
    return TorchResize()


def _limit() -> None:
    """From here on no image gets more than its memory, a core file, or a line in the log."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # without /proc there is no limit of memory
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _MEMORY_FOR_ONE_IMAGE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        # Where the machine itself runs short, the kernel shall take a decoder, not the worker.
        Path("/proc/self/oom_score_adj").write_text("1000")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stderr.fileno())
    os.close(silence)


if __name__ == "__main__":
    main(*sys.argv[1:])
