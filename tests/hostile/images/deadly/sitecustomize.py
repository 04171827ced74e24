"""Put on PYTHONPATH by a test: opening an image that begins with DEADLY does what it says."""

import os
import signal
from pathlib import Path

from PIL import Image


def _loop():  # type: ignore[no-untyped-def]
    while True:
        pass


def _hog():  # type: ignore[no-untyped-def]
    kept = []
    while True:
        kept.append(bytearray(64 * 2**20))


def _once(flag):  # type: ignore[no-untyped-def]
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)


_WAYS = {
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "loop": _loop,
    "hog": _hog,
    "once": _once,
}
_open = Image.open


def _deadly(stream, *args, **kwargs):  # type: ignore[no-untyped-def]
    word, *header = stream.getvalue()[:200].split(b" ")
    if word == b"DEADLY":
        way, *rest = (each.decode() for each in header)
        _WAYS[way](*rest)
    return _open(stream, *args, **kwargs)


Image.open = _deadly
