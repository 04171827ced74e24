"""What a contestant is told when it starts, and what every contestant can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from benchmarks.album import Pair


@dataclass(frozen=True, slots=True)
class Entry:
    """One process of a race: what it does, with which files, on which cores.

    `share` (i, n) makes it take every nth pair, from the ith on.
    """

    kind: str
    album: str
    cores: Sequence[int]
    weights: str = ""
    threads: int = 1
    tier: str = "fast"
    dtype: str = "float32"
    device: str = "cpu"
    share: Sequence[int] = (0, 1)

    def to_json(self) -> str:
        """One argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> Entry:
        """What `to_json` wrote."""
        tree: dict[str, Any] = json.loads(text)
        return cls(**tree)


class Contestant(Protocol):
    """Does one piece of work, always the same, as often as it is asked."""

    def prepare(self, pairs: Sequence[Pair]) -> None:
        """What a round neither pays for nor may remember from the one before; not timed."""

    def run(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """The timed round; similarities in order where it computes any."""


class Absent(Exception):
    """The contestant cannot run here; the text says why."""
