"""Processes of the stack: run under a guard, known by pid and start time, stopped in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

GUARD = Path(__file__).with_name("guard.py")
POLL_S = 0.05
MARGIN_S = 15.0
LINE_WIDTH = 160


class StackError(Exception):
    """The stack cannot do what was asked; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Account:
    """An unprivileged account of this machine."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Identity:
    """One process and no other: pids come back, and after a reboot so do start times."""

    pid: int
    ticks: int
    boot: str

    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return identify(self.pid) == self


def boot_id() -> str:
    """The kernel's name for the time since the last boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """Who runs under this pid now; None when nobody does, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]), boot_id())


@dataclass(frozen=True)
class Command:
    """A command of the stack: what, with which environment, and how it is stopped."""

    name: str
    argv: tuple[str, ...]
    log: Path
    folder: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0

    def guarded(self) -> list[str]:
        """The command line of the guard that runs this command."""
        account = self.account
        rights = [f"--uid={account.uid}", f"--gid={account.gid}"] if account else []
        ending = [f"--stop-signal={int(self.stop_signal)}", f"--grace-s={self.grace_s}"]
        return [sys.executable, "-I", "-S", str(GUARD), *rights, *ending, "--", *self.argv]


@dataclass(frozen=True)
class Running:
    """A guard that runs a command, started by this process or by an earlier one."""

    name: str
    identity: Identity
    log: Path
    grace_s: float
    child: subprocess.Popen[bytes] | None = None

    def alive(self) -> bool:
        """Whether the guard still runs, and with it the command."""
        if self.child is not None:
            return self.child.poll() is None
        return self.identity.alive()

    def exit_code(self) -> int | None:
        """How the command ended, as far as this process can know."""
        return self.child.poll() if self.child is not None else None

    def release(self) -> None:
        """Let the command outlive this process."""
        if self.child is not None and self.child.stdin is not None:
            self.child.stdin.write(b"released")
            self.child.stdin.close()

    def ask_to_stop(self) -> None:
        """Send the wish to stop, and return at once."""
        if self.alive():
            os.kill(self.identity.pid, signal.SIGTERM)

    def stop(self) -> None:
        """Stop the command and its family, and return when they are gone. Safe to repeat."""
        self.ask_to_stop()
        if not poll(lambda: not self.alive(), limit_s=self.grace_s + MARGIN_S):
            os.killpg(self.identity.pid, signal.SIGKILL)
            poll(lambda: not self.alive(), limit_s=MARGIN_S)
        if self.child is not None and self.child.stdin is not None:
            self.child.stdin.close()


def start(command: Command) -> Running:
    """Start a command in its own session; it ends with this process, even by SIGKILL."""
    with open_log(command.log) as log:
        child = subprocess.Popen(
            command.guarded(),
            env=dict(command.env),
            cwd=command.folder,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    identity = identify(child.pid) or Identity(child.pid, 0, "")
    return Running(command.name, identity, command.log, command.grace_s, child)


def finish(running: Running, *, limit_s: float) -> None:
    """Wait for a command to end well; StackError with its last words when it does not."""
    try:
        ended = poll(lambda: not running.alive(), limit_s=limit_s)
    finally:
        running.stop()
    if not ended:
        raise StackError(f"{running.name}: not done within {limit_s:.0f} s (log: {running.log})")
    if running.exit_code() != 0:
        raise StackError(died(running))


def died(running: Running) -> str:
    """One line about a command that ended: its code, its last words, and where the rest is."""
    words = last_lines(running.log, 2) or "no output"
    return f"{running.name} ended with code {running.exit_code()}: {words} (log: {running.log})"


def open_log(path: Path) -> IO[bytes]:
    """The log file, for appending, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def last_lines(path: Path, count: int) -> str:
    """The end of a log without empty lines, each cut, joined to one line."""
    if not path.exists():
        return ""
    lines = path.read_bytes()[-65536:].decode(errors="replace").splitlines()
    return " | ".join([line.strip()[:LINE_WIDTH] for line in lines if line.strip()][-count:])


def poll(reached: Callable[[], bool], *, limit_s: float, every_s: float = POLL_S) -> bool:
    """Wait until the condition holds; False when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
