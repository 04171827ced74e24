"""Calls of the towers: side by side on the cores of a CPU, one after another on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Protocol, TypeVar

import torch

from clip_scoring.models.devices import kind

T = TypeVar("T")
R = TypeVar("R")


class Calls(Protocol):
    """Makes calls of a tower, `at_once` of them at the same time."""

    at_once: int

    def run(self, call: Callable[[T], R], contents: Sequence[T]) -> list[R]:
        """`call` of each content, in their order; raises what the first failing one raised."""


class InTurn:
    """One call after another in the caller's thread: a GPU shares its cores out by itself."""

    at_once = 1

    def run(self, call: Callable[[T], R], contents: Sequence[T]) -> list[R]:
        """`call` of each content, in their order."""
        return [call(content) for content in contents]


class SideBySide:
    """Up to `threads` calls at once, each on one core.

    How many threads share a matrix product chooses its kernels, and so its bits; how many products
    are made beside it does not. The number of threads that torch takes in the caller's own threads
    stays as it is. The threads end with the last reference to this object.
    """

    def __init__(self, threads: int) -> None:
        self.at_once = threads
        before = torch.get_num_threads()
        self._threads = ThreadPoolExecutor(threads, "tower", initializer=_take_one_core)
        everyone = Barrier(threads)
        for started in [self._threads.submit(everyone.wait) for _ in range(threads)]:
            started.result()
        torch.set_num_threads(before)  # what threads that the caller starts later will take

    def run(self, call: Callable[[T], R], contents: Sequence[T]) -> list[R]:
        """`call` of each content, in their order; raises what the first failing one raised."""
        return list(self._threads.map(torch.inference_mode()(call), contents))


def calls_on(device: str, threads: int | None) -> Calls:
    """Side by side on a CPU, in as many threads as torch takes where None are asked for."""
    if kind(device) != "cpu":
        return InTurn()
    return SideBySide(threads or torch.get_num_threads())


def _take_one_core() -> None:
    """Keep torch from sharing out what this thread computes."""
    torch.get_num_threads()  # a thread's first question sets its number: later it would undo ours
    torch.set_num_threads(1)
