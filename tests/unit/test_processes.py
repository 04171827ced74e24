"""Names of worker processes, and processes that end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clip_scoring.processes import is_dead, this_worker

CHILD = """
import sys
from clip_scoring.processes import die_with_parent
{call}
print("ready", flush=True)
sys.stdin.read()
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""


def test_this_worker_lives_and_has_one_name() -> None:
    assert this_worker() == this_worker()
    assert not is_dead(this_worker())


def test_a_process_that_ended_is_dead_and_so_is_an_earlier_one_of_its_number() -> None:
    program = "from clip_scoring.processes import this_worker; print(this_worker())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                           check=True)  # fmt: skip
    assert is_dead(ended.stdout.strip())
    machine, pid, started = this_worker().rsplit("/", 2)
    assert is_dead(f"{machine}/{pid}/{int(started) - 1}")


@pytest.mark.parametrize("name", ["", "elsewhere/1/2/3", "a/b", "host/4026531836/x/1"])
def test_of_workers_elsewhere_nothing_is_known(name: str) -> None:
    assert not is_dead(name)


@pytest.mark.parametrize("call", ["die_with_parent()", "import os; die_with_parent(os.getppid())"])
def test_a_child_ends_with_its_killed_parent(call: str) -> None:
    """Standard output closes when both have ended; its input stays open all the while."""
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD.format(call=call)],
        stdin=reading, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert parent.stdout is not None
        lines = {parent.stdout.readline(), parent.stdout.readline()}
        assert "ready\n" in lines
        parent.kill()
        assert parent.stdout.read() == ""
    finally:
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()
        os.close(reading)
        os.close(writing)


def test_a_child_whose_parent_is_another_one_already_ends_at_once() -> None:
    program = "from clip_scoring.processes import die_with_parent; die_with_parent(1); print('no')"
    ended = subprocess.run(
        [sys.executable, "-c", f"import os\nassert os.getppid() != 1\n{program}"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (-9, "")
