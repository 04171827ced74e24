"""Disks, signals and pipes that fail: a clear word, the right exit code, and nothing lost."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_scoring.cli.exit_code import ExitCode
from tests.files.kills import REPOSITORY, call, command, environment, pairs_file

ROWS = 6_000
MIDDLE = "written 4 SIGSTOP"
"""A part of the work is in the journal, and the process waits there until it is woken."""
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


class Files:
    """An input, what is made of it, and what was expected."""

    def __init__(self, folder: Path, unbroken: bytes) -> None:
        self.folder = folder
        self.unbroken = unbroken
        self.path = pairs_file(folder, ROWS)
        self.output = folder / "pairs_scored.csv"
        self.journal = folder / "pairs_scored.csv.journal"

    def start(self, *options: str, stop: str = "", **more: object) -> subprocess.Popen[str]:
        talking = [each for each in command(self.path, *options) if each != "--quiet"]
        return subprocess.Popen(
            talking, env=environment(stop), cwd=REPOSITORY, text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )  # type: ignore[call-overload,no-any-return]  # fmt: skip

    def stopped_in_the_middle(self) -> subprocess.Popen[str]:
        """Running, and stopped when a part of the work is in the journal."""
        running = self.start(stop=MIDDLE)
        happened = os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert happened is not None
        assert happened.si_code == os.CLD_STOPPED, running.communicate()
        assert self.journal.stat().st_size > 0
        return running

    def is_safe(self) -> None:
        """There is a journal, nothing half-written, and the same call comes to the same bytes."""
        assert self.journal.stat().st_size > 0
        assert not self.output.exists()
        assert not list(self.folder.glob("*.part"))
        assert call(self.path).code == 0
        assert self.output.read_bytes() == self.unbroken


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What becomes of the input in one call."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert call(pairs_file(folder, ROWS)).code == 0
    return (folder / "pairs_scored.csv").read_bytes()


@pytest.fixture
def files(tmp_path: Path, unbroken: bytes) -> Files:
    return Files(tmp_path, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_ends_with_3_and_the_same_call_goes_on(
    files: Files, number: signal.Signals
) -> None:
    running = files.stopped_in_the_middle()
    running.send_signal(number)
    running.send_signal(signal.SIGCONT)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, "the same command goes on" in err) == (3, True), err
    files.is_safe()


def limited(size: int) -> Callable[[], None]:
    """No file may grow above so many bytes: to a process what a full disk is."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("size", [40_000, 240_000], ids=["journal", "output"])
def test_a_disk_that_fills_up_ends_it_with_3_and_nothing_half_written(
    files: Files, size: int
) -> None:
    running = files.start(preexec_fn=limited(size))
    _, err = running.communicate(timeout=120)
    assert running.returncode == ExitCode.TRY_AGAIN, err
    assert "File too large; make room, then the same again" in err
    files.is_safe()


def test_a_folder_that_may_not_be_written_to_is_refused_before_anything_is_scored(
    files: Files,
) -> None:
    def without_privilege() -> None:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability)

    files.folder.chmod(0o555)
    try:
        running = files.start(preexec_fn=without_privilege)
        _, err = running.communicate(timeout=60)
    finally:
        files.folder.chmod(0o755)
    assert running.returncode == ExitCode.WRONG_USE, err
    assert err.splitlines()[-1].endswith("pairs_scored.csv.journal: Permission denied")


@pytest.mark.parametrize("options", [("-o", "/dev/full"), ("--metrics", "/dev/full")])
def test_devices_are_no_place_for_files(files: Files, options: tuple[str, ...]) -> None:
    ended = call(files.path, *options)
    assert ended.code == 2
    assert "/dev/full" in ended.stderr
    assert not Path("/dev/full").is_file()
    assert not files.journal.exists()


def test_a_summary_that_cannot_be_printed_is_told_and_printed_by_the_next_call(
    files: Files,
) -> None:
    with Path("/dev/full").open("w") as full:
        running = files.start(stdout=full)
        _, err = running.communicate(timeout=60)
    assert (running.returncode, "standard output: No space left" in err) == (3, True), err
    whole = files.output.read_bytes()
    again = files.start()
    out, _ = again.communicate(timeout=60)
    assert (again.returncode, f"{ROWS} rows" in out) == (0, True)
    assert files.output.read_bytes() == whole


def test_a_reader_of_the_summary_that_is_gone_is_no_failure(files: Files) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    running = files.start(stdout=writing)
    os.close(writing)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, "Traceback" in err, "Exception" in err) == (0, False, False), err
    assert files.output.exists()


def test_a_reader_of_the_progress_that_is_gone_stops_it_resumably(files: Files) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    running = files.start(stderr=writing)
    os.close(writing)
    running.communicate(timeout=60)
    assert running.returncode == ExitCode.TRY_AGAIN
    files.is_safe()


def test_two_calls_do_not_write_into_one_journal(files: Files) -> None:
    first = files.stopped_in_the_middle()
    try:
        second = call(files.path)
    finally:
        first.send_signal(signal.SIGCONT)
    assert (second.code, "another process is scoring into it" in second.stderr) == (3, True)
    first.communicate(timeout=60)
    assert first.returncode == ExitCode.DONE


def test_an_output_is_never_overwritten_without_being_asked(files: Files) -> None:
    files.output.write_text("mine")
    refused = call(files.path)
    assert (refused.code, "--force overwrites it" in refused.stderr) == (2, True)
    assert (files.output.read_text(), files.journal.exists()) == ("mine", False)
    assert call(files.path, "--force").code == 0
    assert files.output.stat().st_size > 400_000
    # Changed since, it is somebody's work again.
    files.output.write_text("mine again")
    assert call(files.path).code == 2
    assert files.output.read_text() == "mine again"


def test_other_options_and_another_input_are_refused_with_what_differs(files: Files) -> None:
    running = files.stopped_in_the_middle()
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGCONT)
    running.communicate(timeout=60)
    other = call(files.path, "--batch-size", "32", "--prefix", "A {caption}")
    assert other.code == 2
    assert "was started with different options: " in other.stderr
    assert "batch size was 64, is 32; prefix was not given, is A {caption}" in other.stderr
    kept = files.path.read_text()
    files.path.write_text(kept + "x,y,z\n")
    changed = call(files.path)
    assert (changed.code, "input was sha256:" in changed.stderr) == (2, True)
    restarted = call(files.path, "--no-resume")
    assert restarted.code == 0, restarted.stderr
    assert files.output.read_text().count("\n") == ROWS + 2


def test_what_was_rejected_is_tried_again_and_nothing_else(files: Files) -> None:
    assert call(files.path).code == 0
    before = files.output.read_text().splitlines()
    again = files.start("--retry-rejected")
    out, _ = again.communicate(timeout=60)
    rejected = ROWS // 100
    assert (again.returncode, f"rejected {rejected}  new {rejected}" in out) == (0, True), out
    assert files.output.read_text().splitlines() == before
    # A retry that is killed goes on as well, whether it is asked for again or not.
    died = call(files.path, "--retry-rejected", die_at="written 1")
    assert died.killed
    assert call(files.path, "--retry-rejected").code == 0
    assert files.output.read_text().splitlines() == before
