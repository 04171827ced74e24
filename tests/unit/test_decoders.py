"""Decoder processes: what kills them, how they end, and that nobody else notices."""

from __future__ import annotations

import asyncio
import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scoring.errors import DecoderBroken
from clip_scoring.fingerprint import Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decode import decode
from clip_scoring.images.decoder_process import BODY_LIMIT
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.models.resize import TorchResize
from clip_scoring.ports import Pixels
from clip_scoring.records import Reason, Rejection

REPOSITORY = Path(__file__).parents[2]
GEOMETRY = Geometry(Fit.SHORTEST_EDGE, 32, 32, 3, (32, 32))
LARGE = Geometry(Fit.SHORTEST_EDGE, 224, 224, 3, (224, 224))
ANSWERS_NONSENSE = """
import socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
channel.sendall(b'"ready"\\n')
channel.recv(100)
channel.sendall(sys.argv[0].encode() + b"x\\n")
channel.recv(100)
"""


def image(seed: int = 1, width: int = 90, height: int = 70) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pool(*, count: int = 1, seconds: float = 60.0) -> Decoders:
    return pool_for(GEOMETRY, Tier.EXACT, count=count, seconds=seconds)


def pool_for(geometry: Geometry, tier: Tier, *, count: int = 1, seconds: float = 60.0) -> Decoders:
    return Decoders(decoder_command(geometry, tier), geometry.shape, count=count, seconds=seconds)


def using(decoders: Decoders, work: Callable[[Decoders], Awaitable[None]]) -> None:
    """Run `work` in an event loop of its own; the processes are ended whatever happens."""

    async def main() -> None:
        try:
            await work(decoders)
        finally:
            await decoders.close()

    asyncio.run(main())


async def rejection(decoders: Decoders, body: bytes) -> Rejection:
    with pytest.raises(ImageRejected) as raised:
        await decoders.decode(body)
    return raised.value.rejection


async def gives_its_pixels(decoders: Decoders, seed: int = 1) -> None:
    expected: Pixels = decode(image(seed), GEOMETRY)
    np.testing.assert_array_equal(await decoders.decode(image(seed)), expected)


def processes(decoders: Decoders) -> list[int]:
    return [each._popen.pid for each in decoders._idle]


def wait_for_end(pid: int) -> None:
    """Until the process is no more; it need not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30)[0], f"process {pid} stays"
    finally:
        os.close(descriptor)


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that begin with DEADLY do to their decoder what they say."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "hostile" / "images" / "deadly"))


@pytest.mark.parametrize(
    ("tier", "geometry", "resize"),
    [(Tier.EXACT, GEOMETRY, None), (Tier.EXACT, LARGE, None), (Tier.FAST, LARGE, TorchResize()),
     (Tier.FAST, GEOMETRY, None)],
    ids=["exact small", "exact", "fast", "fast small"],
)  # fmt: skip
def test_a_process_gives_the_pixels_that_its_tier_says(
    tier: Tier, geometry: Geometry, resize: TorchResize | None
) -> None:
    async def work(decoders: Decoders) -> None:
        for seed, size in enumerate([(90, 70), (33, 500), (8, 8), (1200, 900)]):
            expected = decode(image(seed, *size), geometry, resize)
            np.testing.assert_array_equal(await decoders.decode(image(seed, *size)), expected)

    using(pool_for(geometry, tier), work)


def test_a_refusal_comes_over_with_reason_and_detail() -> None:
    async def work(decoders: Decoders) -> None:
        assert await rejection(decoders, b"") == Rejection(Reason.IMAGE_UNDECODABLE, "zero bytes")
        assert await rejection(decoders, b"qoif" + bytes(30)) == Rejection(
            Reason.IMAGE_FORMAT_FORBIDDEN, "QOI"
        )
        await gives_its_pixels(decoders)
        assert decoders.drain_metrics().counts == {
            "decoder_crashes": 0, "decoder_timeouts": 0, "decoder_starts": 1
        }  # fmt: skip

    using(pool(), work)


def test_a_body_over_20_mib_is_too_large_and_one_of_20_mib_is_looked_at() -> None:
    async def work(decoders: Decoders) -> None:
        found = await rejection(decoders, bytes(BODY_LIMIT + 1))
        assert found == Rejection(Reason.IMAGE_TOO_LARGE, "20971521 bytes, limit 20971520")
        assert (await rejection(decoders, bytes(BODY_LIMIT))).reason is Reason.IMAGE_UNDECODABLE

    using(pool(), work)


@pytest.mark.parametrize(
    ("way", "ending"),
    [("segv", "signal SIGSEGV"), ("abort", "signal SIGABRT"), ("exit", "exit code 3")],
)
@pytest.mark.usefixtures("deadly")
def test_an_image_that_kills_two_decoders_costs_its_own_record(way: str, ending: str) -> None:
    async def work(decoders: Decoders) -> None:
        bodies = [image(1), image(2), b"DEADLY " + way.encode(), image(3), image(4)]
        found = await asyncio.gather(*map(decoders.decode, bodies), return_exceptions=True)
        refused = found.pop(2)
        assert isinstance(refused, ImageRejected)
        assert refused.rejection == Rejection(
            Reason.IMAGE_DECODER_CRASHED, f"two decoders ended, by {ending}"
        )
        for seed, pixels in enumerate(found, start=1):
            np.testing.assert_array_equal(pixels, decode(image(seed), GEOMETRY))
        counts = decoders.drain_metrics().counts
        assert (counts["decoder_crashes"], counts["decoder_timeouts"]) == (2, 0)
        assert decoders.drain_metrics().counts["decoder_crashes"] == 0

    using(pool(count=2), work)


@pytest.mark.usefixtures("deadly")
def test_an_image_whose_decoder_was_killed_from_outside_is_decoded_by_another(
    tmp_path: Path,
) -> None:
    async def work(decoders: Decoders) -> None:
        # When it is not killed, the decoder finds that these bytes are no image.
        found = await rejection(decoders, f"DEADLY once {tmp_path / 'flag'}".encode())
        assert found.reason is Reason.IMAGE_UNDECODABLE
        assert decoders.drain_metrics().counts == {
            "decoder_crashes": 1, "decoder_timeouts": 0, "decoder_starts": 2
        }  # fmt: skip

    using(pool(), work)


@pytest.mark.usefixtures("deadly")
def test_an_image_that_never_ends_is_refused_after_two_decoders_reached_their_limit() -> None:
    async def work(decoders: Decoders) -> None:
        good = asyncio.gather(*(gives_its_pixels(decoders, seed) for seed in range(10)))
        found = await rejection(decoders, b"DEADLY loop")
        assert found == Rejection(Reason.IMAGE_DECODER_CRASHED, "two decoders took more than 1 s")
        await good
        await gives_its_pixels(decoders)
        assert decoders.drain_metrics().counts["decoder_timeouts"] == 2

    using(pool(count=2, seconds=1.0), work)


def test_an_image_whose_decoder_stood_still_is_decoded_by_another() -> None:
    async def work(decoders: Decoders) -> None:
        await gives_its_pixels(decoders, 1)
        (stopped,) = processes(decoders)
        os.kill(stopped, signal.SIGSTOP)
        await gives_its_pixels(decoders, 2)
        assert decoders.drain_metrics().counts["decoder_timeouts"] == 1
        wait_for_end(stopped)

    using(pool(seconds=3.0), work)


@pytest.mark.usefixtures("deadly")
def test_an_image_that_takes_all_memory_is_refused_and_its_decoder_lives() -> None:
    async def work(decoders: Decoders) -> None:
        await gives_its_pixels(decoders)
        before = processes(decoders)
        found = await rejection(decoders, b"DEADLY hog")
        assert found == Rejection(Reason.IMAGE_UNDECODABLE, "not enough memory")
        await gives_its_pixels(decoders)
        assert processes(decoders) == before

    using(pool(), work)


def test_a_process_that_is_killed_between_two_images_costs_nothing() -> None:
    async def work(decoders: Decoders) -> None:
        await gives_its_pixels(decoders)
        (pid,) = processes(decoders)
        os.kill(pid, signal.SIGKILL)
        await gives_its_pixels(decoders)
        assert processes(decoders) != [pid]

    using(pool(), work)


@pytest.mark.usefixtures("deadly")
def test_a_decoding_that_is_cancelled_leaves_nothing_behind_for_the_next() -> None:
    async def work(decoders: Decoders) -> None:
        await gives_its_pixels(decoders)
        hanging = asyncio.create_task(decoders.decode(b"DEADLY loop"))
        await asyncio.sleep(0)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert decoders.busy == 0
        await gives_its_pixels(decoders, 2)

    using(pool(), work)


def test_an_answer_that_no_decoder_gives_counts_as_a_crash() -> None:
    async def work(decoders: Decoders) -> None:
        found = await rejection(decoders, image())
        assert found.reason is Reason.IMAGE_DECODER_CRASHED

    command = (sys.executable, "-c", ANSWERS_NONSENSE)
    using(Decoders(command, GEOMETRY.shape, count=1), work)


@pytest.mark.parametrize(
    ("program", "ending"),
    [("raise SystemExit(7)", "exit code 7"), ("import os; os.kill(os.getpid(), 9)", "SIGKILL")],
)
def test_a_process_that_ends_before_it_is_ready_is_not_blamed_on_the_image(
    program: str, ending: str
) -> None:
    async def work(decoders: Decoders) -> None:
        with pytest.raises(DecoderBroken, match=ending):
            await decoders.decode(image())
        assert decoders.busy == 0

    using(Decoders((sys.executable, "-c", program), GEOMETRY.shape, count=1), work)


def test_a_command_that_cannot_be_started_is_named() -> None:
    async def work(decoders: Decoders) -> None:
        with pytest.raises(DecoderBroken, match="/no/such/python"):
            await decoders.decode(image())

    using(Decoders(("/no/such/python",), GEOMETRY.shape, count=1), work)


def test_no_more_than_count_decode_at_once_and_every_change_is_told() -> None:
    async def work(decoders: Decoders) -> None:
        seen: list[int] = []
        decoders.on_change = lambda: seen.append(decoders.busy)
        await asyncio.gather(*(gives_its_pixels(decoders, seed) for seed in range(8)))
        assert len(seen) == 16
        assert max(seen) == decoders.count == 2
        assert (seen[-1], min(seen)) == (0, 0)
        assert decoders.drain_metrics().counts["decoder_starts"] == 2

    using(pool(count=2), work)


def test_a_decoder_knows_no_password_and_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(decoders: Decoders) -> None:
        await gives_its_pixels(decoders)
        (pid,) = processes(decoders)
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert "secret" not in environment
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        rows = {line[:26].strip(): line[26:47].strip() for line in limits}
        assert rows["Max core file size"] == "0"
        assert 1.5 * 2**30 < int(rows["Max address space"]) < 4 * 2**30
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        assert str(Path(f"/proc/{pid}/fd/0").readlink()) == os.devnull

    monkeypatch.setenv("CLIP_SCORING_DATABASE_URL", "postgresql://clip:secret@localhost/clip")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    using(pool(), work)


def test_closing_ends_every_process() -> None:
    found: list[int] = []

    async def work(decoders: Decoders) -> None:
        await asyncio.gather(*(gives_its_pixels(decoders, seed) for seed in range(4)))
        found.extend(processes(decoders))

    using(pool(count=2), work)
    assert len(found) == 2
    for pid in found:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.usefixtures("deadly")
@pytest.mark.parametrize("last", [b"", b"DEADLY loop"], ids=["idle", "decoding"])
def test_no_decoder_outlives_a_parent_that_is_killed(last: bytes) -> None:
    program = f"""
import asyncio, os, signal
from tests.unit.test_decoders import gives_its_pixels, pool, processes
async def main():
    decoders = pool()
    await gives_its_pixels(decoders)
    print(*processes(decoders), flush=True)
    if {last!r}:
        asyncio.create_task(decoders.decode({last!r}))
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    wait_for_end(int(ended.stdout))
