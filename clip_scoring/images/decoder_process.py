"""One decoder process as its parent sees it: a body goes in, pixels or a refusal come out."""

from __future__ import annotations

import asyncio
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from math import prod

import numpy as np

from clip_scoring.images.rejected import ImageRejected
from clip_scoring.ports import Pixels
from clip_scoring.records import Reason

BODY_LIMIT = 20 * 1024 * 1024
"""Bytes of shared memory before the pixels: no body is longer."""
READY = b'"ready"\n'
PIXELS = b"null\n"
_ANSWER_LIMIT = 4096
_KEPT_ENVIRONMENT = frozenset(
    {"PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"}
)


class Died(Exception):
    """The process has ended, or answers what no decoder answers; the text says how."""


class DecoderProcess:
    """A process started by `command`, which gets two descriptors as further arguments.

    The first is a socket: the length of a body goes over it as a line, and back comes READY once,
    then for each body PIXELS or a JSON array of reason and detail. The second is memory in common:
    BODY_LIMIT bytes for the body, then the pixels.
    """

    def __init__(self, command: Sequence[str], shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._received, self._ended = b"", False
        self._arrival: asyncio.Future[None] | None = None
        size = BODY_LIMIT + prod(shape)
        shared = _shared_memory(size)
        self._memory = mmap.mmap(shared, size)
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)
        try:
            self._popen = _start(command, theirs.fileno(), shared)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
            os.close(shared)

    async def ready(self) -> None:
        """Wait until it can decode; raises Died. From here on it belongs to this event loop."""
        # One reader for good: sock_recv would enter and leave the selector for every image.
        asyncio.get_running_loop().add_reader(self._channel, self._receive)
        if await self._answer() != READY:
            raise Died("it did not say that it was ready")

    async def decode(self, body: bytes) -> Pixels:
        """The pixels of one body of at most BODY_LIMIT bytes; raises ImageRejected or Died."""
        self._memory[: len(body)], self._received = body, b""
        try:
            self._channel.send(b"%d\n" % len(body))
        except OSError as gone:
            raise Died("it ended between two images") from gone
        answer = await self._answer()
        if answer != PIXELS:
            raise _refusal(answer)
        pixels: Pixels = np.frombuffer(
            self._memory, np.uint8, count=prod(self._shape), offset=BODY_LIMIT
        )
        return pixels.reshape(self._shape).copy()

    async def end(self) -> str:
        """Kill it if it still runs, and say how it ended."""
        self._popen.kill()
        asyncio.get_running_loop().remove_reader(self._channel)
        code = await asyncio.to_thread(self._popen.wait)
        self._channel.close()
        self._memory.close()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def _answer(self) -> bytes:
        """The next line that comes; raises Died when none will."""
        while not self._ended and not self._received.endswith(b"\n"):
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        answer, self._received = self._received, b""
        if not answer.endswith(b"\n"):
            raise Died("no answer")
        return answer

    def _receive(self) -> None:
        try:
            received = self._channel.recv(_ANSWER_LIMIT)
        except OSError:
            received = b""
        self._received += received
        if not received or len(self._received) > _ANSWER_LIMIT:
            self._ended = True
            asyncio.get_running_loop().remove_reader(self._channel)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def _refusal(answer: bytes) -> ImageRejected:
    """The refusal in an answer; whatever took over a decoder may have answered anything."""
    try:
        reason, detail = json.loads(answer)
        return ImageRejected(Reason(reason), str(detail))
    except (ValueError, TypeError, RecursionError) as nonsense:
        raise Died("an answer that no decoder gives") from nonsense


def _start(command: Sequence[str], *descriptors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )


def _shared_memory(size: int) -> int:
    """Descriptor of `size` bytes that have no name and go with the last process that has them."""
    if hasattr(os, "memfd_create"):
        shared = os.memfd_create("clip-scoring-decoder", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            shared = os.dup(file.fileno())
    os.ftruncate(shared, size)
    if hasattr(os, "memfd_create"):
        # A decoder that shrinks it would kill its parent by SIGBUS.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(shared, fcntl.F_ADD_SEALS, seals)
    return shared


def _environment() -> dict[str, str]:
    """The environment of a decoder: where its code is, and neither passwords nor keys."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_ENVIRONMENT}
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
