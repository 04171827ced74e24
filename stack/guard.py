"""Runs a command and its family: when it ends, is told to stop or loses its owner, all ends.

Started as a script of its own (standard library only), since whatever must outlive a SIGKILL of the
owner cannot live in the owner. Three ropes: a pipe from the owner on standard input, whose end of
file says that the owner is gone, and where a byte says that the command may outlive it;
PR_SET_CHILD_SUBREAPER, so that orphans of the command stay in reach; PR_SET_PDEATHSIG on the
command, in case the guard itself is killed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WAKING = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_STARTED = 127
POLL_S = 0.05
SWEEP_LIMIT_S = 10.0


@dataclass(frozen=True)
class Order:
    """What to run, as whom, and how it is stopped."""

    argv: tuple[str, ...]
    stop_signal: int
    grace_s: float
    account: tuple[int, int] | None


def parse(arguments: Sequence[str]) -> Order:
    """Read the guard's own command line; the command follows `--`."""
    parser = argparse.ArgumentParser(prog="guard")
    parser.add_argument("--stop-signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--grace-s", type=float, default=10.0)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("argv", nargs="+")
    given = parser.parse_args(arguments)
    account = None if given.uid is None else (given.uid, given.gid)
    return Order(tuple(given.argv), given.stop_signal, given.grace_s, account)


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process in the kernel, or raise OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def launch(order: Order) -> int:
    """Fork and run the command; returns its pid. In the child this never returns."""
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        become(order, guard)
    return pid


def become(order: Order, guard: int) -> None:
    """Become the command: drop privileges first, since that clears the death signal."""
    try:
        if order.account is not None:
            os.setgroups([])
            os.setgid(order.account[1])
            os.setuid(order.account[0])
        prctl(PR_SET_PDEATHSIG, order.stop_signal)
        if os.getppid() == guard:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.execvp(order.argv[0], order.argv)  # noqa: S606 - a list, never a shell
    except OSError as error:
        print(f"{order.argv[0]}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(NOT_STARTED)


class Events:
    """What can happen to the guard: a child ended, a signal said stop, or the owner went away."""

    def __init__(self) -> None:
        self.stop_asked = False
        self._selector = selectors.DefaultSelector()
        self._signals, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in WAKING:
            signal.signal(number, lambda *_: None)

    def wait(self, timeout: float | None) -> None:
        """Return after the next event or `timeout` seconds; remembers a wish to stop."""
        for key, _ in self._selector.select(timeout):
            if key.fd == self._signals:
                self._read_signals()
            else:
                self._selector.unregister(0)
                self.stop_asked |= not os.read(0, 1)

    def _read_signals(self) -> None:
        received = os.read(self._signals, 512)
        self.stop_asked |= any(number != signal.SIGCHLD for number in received)


def reap(command: int) -> int | None:
    """Collect every child that ended; the command's exit code once it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == command:
            code = os.waitstatus_to_exitcode(status)


def family(root: int) -> list[int]:
    """Every living descendant of `root`, read from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.name))
    descendants, frontier = [], [root]
    while frontier:
        born = children.get(frontier.pop(), [])
        descendants += born
        frontier += born
    return descendants


def kill(pid: int, number: int) -> None:
    """Send a signal to a process that may just have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def sweep(command: int) -> None:
    """Kill descendants until none is left; new ones may be forked while this looks."""
    deadline = time.monotonic() + SWEEP_LIMIT_S
    while (living := family(os.getpid())) and time.monotonic() < deadline:
        for pid in living:
            kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)
        reap(command)


def await_end(command: int, events: Events, timeout: float | None) -> int | None:
    """Wait for the command, for a wish to stop (while `timeout` is None) or for the time."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        if (code := reap(command)) is not None:
            return code
        left = None if deadline is None else deadline - time.monotonic()
        if (left is None and events.stop_asked) or (left is not None and left <= 0):
            return None
        events.wait(left)


def stop(command: int, order: Order, events: Events) -> int:
    """Ask the command to stop, and return its exit code, or -SIGKILL when it did not listen."""
    kill(command, order.stop_signal)
    code = await_end(command, events, order.grace_s)
    return -signal.SIGKILL if code is None else code


def main(arguments: Sequence[str]) -> int:
    """Run the command to its end, and leave nothing of its family behind."""
    order = parse(arguments)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    events = Events()
    command = launch(order)
    code = await_end(command, events, None)
    if code is None:
        code = stop(command, order, events)
    sweep(command)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
