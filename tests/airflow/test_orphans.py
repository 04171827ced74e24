"""A task whose supervisor was killed dies with it; nothing else that ends takes a task along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from stack.crew import DAG
from stack.processes import identify, poll
from tests.support.night import Night, wait_for

REPOSITORY = Path(__file__).parents[2]
CHILD = """
import sys
from clip_scoring.processes import die_with_parent
{call}
print("ready", flush=True)
for line in sys.stdin:
    print("heard", line, end="", flush=True)
"""
PARENT = """
import subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
thread = threading.Thread(target=int)
thread.start(), thread.join()
child.wait()
"""


def started(call: str) -> subprocess.Popen[str]:
    """A parent, some thread of which has ended, with a child that answers in its stead."""
    parent = subprocess.Popen(
        (sys.executable, "-c", PARENT, CHILD.format(call=call)),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "plugins")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    return parent


def answer(parent: subprocess.Popen[str]) -> str:
    """What the child says to a word; nothing when it is gone."""
    assert parent.stdin is not None and parent.stdout is not None
    try:
        parent.stdin.write("hello\n")
        parent.stdin.flush()
    except BrokenPipeError:
        return ""
    return parent.stdout.readline()


def close(parent: subprocess.Popen[str]) -> None:
    """The end of its input ends the child."""
    assert parent.stdin is not None and parent.stdout is not None
    with suppress(BrokenPipeError):
        parent.stdin.close()
    parent.stdout.close()
    parent.wait()


@pytest.mark.parametrize(
    ("call", "heard"),
    [("die_with_parent()", ""), ("", "heard hello\n")],
    ids=["with the call", "without it"],
)
def test_a_child_outlives_its_killed_parent_unless_it_has_asked_to_die(
    call: str, heard: str
) -> None:
    parent = started(call)
    try:
        assert answer(parent) == "heard hello\n"
        parent.kill()
        parent.wait()
        assert answer(parent) == heard
    finally:
        close(parent)


def test_the_task_dies_with_its_supervisor_and_its_shard_is_finished_by_others(
    night: Night,
) -> None:
    world = night.world
    world.watch_offsets()
    run = night.trigger("orphan", batch_size=4)
    pid = wait_for(lambda: night.task_pid(run, 1), "task")
    assert poll(lambda: night.committed() >= 4, limit_s=120, every_s=0.002)
    task, supervisor = identify(pid), parent_of(pid)
    assert task is not None
    assert b"airflow worker -- LocalExecutor" in Path(f"/proc/{supervisor}/cmdline").read_bytes()

    os.kill(supervisor, signal.SIGKILL)
    assert poll(lambda: not task.alive(), limit_s=10, every_s=0.01)
    # Else Airflow tries the task again when it notices, maybe before the others are done.
    night.api.patch(f"/api/v2/dags/{DAG}/dagRuns/{run}", {"state": "failed"})

    left = night.committed()
    assert 4 <= left < 240
    world.check_invariants()
    assert world.sql("SELECT epoch, state, worker IS NULL FROM clip.shard") == [(1, "open", False)]

    done = night.command_line(
        "clip_scoring", "run", "--day", "2026-01-03", "--run-key", f"{DAG}/{run}"
    )
    assert done.splitlines()[-1] == "planned 240  scored 220  rejected 20  pending 0"
    assert world.sql("SELECT epoch, state, scored, rejected FROM clip.shard") == [
        (2, "done", 220, 20)
    ]
    assert world.sql(
        "SELECT sum(scored + rejected) FILTER (WHERE epoch = 1), sum(scored + rejected) "
        "FROM offset_history"
    ) == [(left, 240)]
    world.check_invariants()


def parent_of(pid: int) -> int:
    """Who started this process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
