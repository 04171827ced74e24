"""The exit codes of every command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    DONE = 0
    RUN_FAILED = 1
    WRONG_USE = 2
    TRY_AGAIN = 3

    @property
    def meaning(self) -> str:
        """The same for people; a command may say it in more detail."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.RUN_FAILED: "the run failed, or more records were rejected than allowed",
    ExitCode.WRONG_USE: "wrong use, configuration or input",
    ExitCode.TRY_AGAIN: "interrupted, disk full, or a service is unavailable: a later try may work",
}
