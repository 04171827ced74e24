"""The process that forks the workers, as the harness sees it: start one, hear which have ended."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.workers import Orders

REPOSITORY = Path(__file__).parents[2]
ANSWER_LIMIT_S = 60.0


class Nursery:
    """Ends with its `with` block, and every worker with it, stopped ones too."""

    def __init__(self, orders: Orders, errors: Path) -> None:
        with errors.open("ab") as stream:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "tests.faults.forks"),
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
            )
        self._selector = selectors.DefaultSelector()
        self._output = self._pipe(self._process.stdout)
        self._input = self._pipe(self._process.stdin)
        self._selector.register(self._output, selectors.EVENT_READ)
        self._unread = b""
        self._answers: list[int] = []
        self._ended: list[tuple[int, int]] = []
        self._say(asdict(orders))

    def start(self, shard_id: int | None) -> int:
        """The pid of a new worker: a task for that shard, or a helper for any free one."""
        return self._ask({"shard": shard_id})

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal to a worker; False when it has ended."""
        return bool(self._ask({"pid": pid, "signal": number}))

    def ended(self, wait_s: float) -> list[tuple[int, int]]:
        """Pids and exit codes of workers that ended since; waits so long for the first."""
        if not self._ended:
            self._listen(wait_s)
        ended, self._ended = self._ended, []
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._selector.close()
        self._process.communicate()

    @staticmethod
    def _pipe(stream: object) -> int:
        return stream.fileno()  # type: ignore[attr-defined,no-any-return]

    def _ask(self, order: dict[str, object]) -> int:
        self._say(order)
        while not self._answers:
            if not self._listen(ANSWER_LIMIT_S):
                raise TimeoutError("the process that forks workers is silent")
        return self._answers.pop()

    def _say(self, order: dict[str, object]) -> None:
        os.write(self._input, json.dumps(order).encode() + b"\n")

    def _listen(self, wait_s: float) -> bool:
        if not self._selector.select(wait_s):
            return False
        received = os.read(self._output, 65536)
        if not received:
            raise EOFError(f"the process that forks workers ended: {self._process.wait()}")
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if "ended" in event:
                self._ended.append((event["ended"], event["code"]))
            else:
                self._answers += event.values()
        return True
