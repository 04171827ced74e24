"""The command line in processes forked from one that has loaded everything, torch above all.

A process of its own needs as many seconds for its imports alone as most tests for the rest. What
is killed, stopped and counted is a real process all the same; that the command line also starts
from nothing is shown by the tests of the documentation and of the package.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path

from clip_scoring.cli import main
from clip_scoring.processes import die_with_parent
from stack.processes import poll

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        __name__,
        "clip_scoring.models.clip",
        "clip_scoring.models.reference",
        "clip_scoring.nightly.plan",
        "clip_scoring.nightly.run",
        "tests.files.fake",
    ]
)
HANG_S = 300.0
"""Long enough for a machine that does much else; a process that ends is heard of at once."""


class WarmCommand:
    """`clip-scoring ARGUMENTS`, running; its output goes to files of the folder.

    `program` takes the place of the command line's own main().
    """

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str],
        folder: Path,
        program: Callable[[Sequence[str]], int] = main,
    ) -> None:
        self._arguments = arguments
        self._output = folder / "stdout", folder / "stderr"
        self._process = _FORKS.Process(
            target=_command, args=(program, arguments, dict(env), *map(str, self._output))
        )
        self._process.start()

    def running(self, for_s: float = 0) -> bool:
        """Whether it has not ended yet, nor does within so many seconds."""
        return not wait([self._process.sentinel], for_s)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def ended(self) -> subprocess.CompletedProcess[str]:
        """Its end, code and output; AssertionError when that does not come."""
        assert wait([self._process.sentinel], HANG_S), f"{self._arguments} does not end"
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return subprocess.CompletedProcess(
            self._arguments, code, *(path.read_text() for path in self._output)
        )

    def close(self) -> None:
        """End it if it has not ended."""
        self._process.kill()
        self._process.join()
        self._process.close()


def _command(
    program: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    env: dict[str, str],
    stdout: str,
    stderr: str,
) -> None:
    die_with_parent()
    os.environ.clear()
    os.environ.update(env)
    for stream, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    sys.exit(program(arguments))


def await_event(happened: Callable[[], bool], what: str, *running: WarmCommand) -> None:
    """Return as soon as it happened; fails when one of the processes ends before that."""

    def decided() -> bool:
        return happened() or not all(each.running() for each in running)

    assert poll(decided, limit_s=HANG_S, every_s=0.005), f"no {what} within {HANG_S:.0f} s"
    ended = [each.ended() for each in running if not each.running()]
    assert not ended, ended


if any("multiprocessing.forkserver" in argument for argument in sys.orig_argv):
    die_with_parent()  # and with it all commands, however these tests end
