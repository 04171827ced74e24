"""`python -m tests.faults.forks`: forks workers on request, signals them, tells of their ends.

Everything is imported before the first fork, so that a new worker costs milliseconds. Orders come
as lines of JSON on standard input; answers, and every end, are told on standard output.
"""

from __future__ import annotations

import json
import logging
import os
import select
import selectors
import signal
import sys

from clip_scoring.database.connection import connect_engine
from stack.guard import PR_SET_PDEATHSIG, prctl
from tests.faults.mutants import Rule, weaken
from tests.faults.workers import End, Orders, be_worker

log = logging.getLogger(__name__)


class Forks:
    """The process that forks: obeys until its standard input ends, then ends every worker."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._unread = b""
        self._orders: Orders | None = None
        self._pidfds: dict[int, int] = {}

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd != 0:
                    self._bury(key.fd, key.data)
                elif not self._obey(os.read(0, 65536)):
                    return

    def end_all(self) -> None:
        for pid in self._pidfds:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _obey(self, received: bytes) -> bool:
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if self._orders is None:
                self._orders = Orders(**order)
                weaken(Rule(self._orders.rule))
            elif "signal" in order:
                tell(signalled=self._signal(order["pid"], order["signal"]))
            else:
                self._fork(self._orders, order["shard"])
        return bool(received)

    def _fork(self, orders: Orders, shard_id: int | None) -> None:
        pid = os.fork()
        if pid == 0:
            become_worker(orders, shard_id)
        self._pidfds[pid] = os.pidfd_open(pid)
        self._selector.register(self._pidfds[pid], selectors.EVENT_READ, pid)
        tell(started=pid)

    def _signal(self, pid: int, number: int) -> bool:
        """False when the worker has ended; nobody else can have its pid as long as it is here."""
        if pid not in self._pidfds or select.select([self._pidfds[pid]], [], [], 0)[0]:
            return False
        os.kill(pid, number)
        return True

    def _bury(self, pidfd: int, pid: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        del self._pidfds[pid]
        tell(ended=pid, code=os.waitstatus_to_exitcode(status))


def become_worker(orders: Orders, shard_id: int | None) -> None:
    """The forked side; it ends here whatever happens, and with the process that forked it."""
    end = End.UNEXPECTED
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        end = be_worker(orders, shard_id)
    except BaseException:
        log.exception("worker of shard %s", shard_id)
    finally:
        os._exit(end)


def tell(**event: int) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def main() -> None:
    connect_engine("postgresql://nobody@localhost/none")  # loads the driver, connects to nothing
    forks = Forks()
    try:
        forks.serve()
    finally:
        forks.end_all()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    main()
