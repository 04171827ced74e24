"""Progress of a long command, and its stop on a signal."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from clip_scoring.display import redacted

if TYPE_CHECKING:
    from clip_scoring.files.score import Progress as Standing

EVERY_SECONDS = 10.0
"""Between two lines where no bar can be drawn."""


class Stop:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """Ask for it."""
        self._asked = True

    def asked(self) -> bool:
        """Whether somebody has."""
        return self._asked


@contextmanager
def told_to_stop(stop: Stop) -> Iterator[None]:
    """SIGINT and SIGTERM ask for the end after the batch; a second one is the end at once."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.asked():
            signal.default_int_handler(number, frame)
        stop.ask()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(signum, on_signal) for signum in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Console(Protocol):
    """Where progress is shown."""

    def begin(self, text: str) -> None:
        """The work begins."""

    def progress(self, standing: Standing) -> None:
        """A batch more is done."""


@contextmanager
def watching(given: Mapping[str, Any], stop: Stop) -> Iterator[Console]:
    """A bar on a terminal, lines of text or JSON elsewhere, nothing with `quiet`; on stderr.

    When they cannot be told any more the work is asked to stop, as by a signal.
    """
    if given.get("quiet"):
        logging.getLogger("clip_scoring").setLevel(logging.WARNING)
        yield Silence()
    elif given.get("json_logs"):
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormat())
        yield Lines(stop, as_json=True)
    elif sys.stderr.isatty():
        with Bar() as bar:
            yield bar
    else:
        yield Lines(stop, as_json=False)


class TextFormat(logging.Formatter):
    """A message of the log, also of other packages, as one line without secrets of addresses."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """With its level and its text."""
        return redacted(super().format(record))


class JsonFormat(logging.Formatter):
    """A message of the log as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """With its level and its text."""
        tree = {"event": "log", "level": record.levelname, "text": redacted(record.getMessage())}
        return json.dumps(tree)


class Silence:
    """Says nothing."""

    def begin(self, text: str) -> None:
        """Nothing."""

    def progress(self, standing: Standing) -> None:
        """Nothing."""


class Lines:
    """A line at the beginning, then one every ten seconds."""

    def __init__(self, stop: Stop, *, as_json: bool) -> None:
        self._stop = stop
        self._as_json = as_json
        self._rate = Rate()
        self._said_at = monotonic()

    def begin(self, text: str) -> None:
        """Say what is scored."""
        text = redacted(text)
        self._say({"event": "begin", "text": text}, text)

    def progress(self, standing: Standing) -> None:
        """Say where it stands, if the last line is old enough."""
        figures = self._rate.figures(standing)
        if monotonic() - self._said_at < EVERY_SECONDS or not figures["pairs_per_second"]:
            return
        self._said_at = monotonic()
        left = "" if figures["left_s"] is None else f"  {figures['left_s']:.0f} s left"
        text = (
            f"{standing.share:.1%}  {standing.done} rows  {figures['pairs_per_second']:.1f} pairs/s"
            f"  rejected {standing.rejected}{left}"
        )
        tree = {"event": "progress", "rows": standing.done, "rejected": standing.rejected}
        self._say({**tree, "share": round(standing.share, 4), **figures}, text)

    def _say(self, tree: Mapping[str, Any], text: str) -> None:
        try:
            print(json.dumps(tree) if self._as_json else text, file=sys.stderr, flush=True)
        except OSError:
            # What is left in the buffer would fail again when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
            self._stop.ask()


class Bar:
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        self._rate = Rate()
        self._bar = Progress(
            TextColumn("{task.percentage:5.1f} %"),
            BarColumn(),
            TextColumn("{task.fields[rate]:.1f} pairs/s"),
            TextColumn("rejected {task.fields[rejected]}"),
            TimeRemainingColumn(),
            console=Terminal(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=1.0, rate=0.0, rejected=0)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, text: str) -> None:
        """Say above the bar what is scored."""
        self._bar.console.print(redacted(text), markup=False, highlight=False)

    def progress(self, standing: Standing) -> None:
        """Move the bar."""
        rate = self._rate.figures(standing)["pairs_per_second"]
        self._bar.update(
            self._task, completed=standing.share, rate=rate, rejected=standing.rejected
        )


class Rate:
    """How fast this call is, from its first batch on: what came before was starting up."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._first = 0
        self._share = 0.0

    def figures(self, standing: Standing) -> dict[str, float | None]:
        """Pairs per second, and seconds left where they can be told."""
        now = monotonic()
        if self._started is None or standing.done < self._first:
            self._started, self._first, self._share = now, standing.done, standing.share
        passed = now - self._started
        done, way = standing.done - self._first, standing.share - self._share
        return {
            "pairs_per_second": done / passed if passed else 0.0,
            "left_s": (1 - standing.share) * passed / way if way > 0 else None,
        }


def ready_streams() -> None:
    """Make the standard streams take any text, and stand in for those that were closed."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Otherwise a file that is opened later gets the number, and what is told with it.
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))
        elif isinstance(stream, TextIOWrapper) and stream.errors == "strict" and name != "stdin":
            stream.reconfigure(errors="backslashreplace")


def complain(text: str) -> None:
    """Say on stderr why it ends; the exit code says it too, where nobody can be told."""
    try:
        print(redacted(text), file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def say(text: str) -> None:
    """Print the result; when nobody reads it any more, that is no failure."""
    try:
        print(redacted(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as failed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(failed.errno, failed.strerror, "standard output") from failed
