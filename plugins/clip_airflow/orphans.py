"""A task whose supervisor was killed must not work on."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process as soon as the one that started it is gone.

    The fence would refuse its commits anyway; this saves the work. On Linux only, see prctl(2).
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went between the two calls
        os.kill(os.getpid(), signal.SIGKILL)
