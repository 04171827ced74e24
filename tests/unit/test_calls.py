"""Calls of the towers: in turn, or side by side with one core each, and nothing else changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from clip_scoring.models.calls import Calls, InTurn, SideBySide

BOTH: list[Callable[[], Calls]] = [InTurn, lambda: SideBySide(3)]


@pytest.mark.parametrize("calls", BOTH)
def test_results_stand_in_the_order_of_the_contents(calls: Callable[[], Calls]) -> None:
    assert calls().run(lambda n: -n, list(range(20))) == [-n for n in range(20)]
    assert calls().run(lambda n: -n, []) == []


@pytest.mark.parametrize("calls", BOTH)
def test_the_first_error_passes_through_and_the_next_calls_go_on(
    calls: Callable[[], Calls],
) -> None:
    def inverse(number: int) -> float:
        return 1 / number

    under_test = calls()
    with pytest.raises(ZeroDivisionError):
        under_test.run(inverse, [1, 0, 2])
    assert under_test.run(inverse, [1, 2]) == [1.0, 0.5]


def test_as_many_calls_are_made_at_once_as_there_are_threads() -> None:
    together = threading.Barrier(3)
    calls = SideBySide(3)
    assert calls.at_once == 3
    arrived = calls.run(lambda _: together.wait(timeout=30), [None] * 3)
    assert sorted(arrived) == [0, 1, 2]


def test_each_call_has_one_thread_of_torch_and_needs_no_gradient() -> None:
    def seen(_: None) -> tuple[int, bool]:
        return torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert SideBySide(2).run(seen, [None] * 4) == [(1, True)] * 4


def test_the_callers_threads_keep_their_number_of_threads_of_torch() -> None:
    def number() -> int:
        found: list[int] = []
        asking = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        asking.start()
        asking.join()
        return found[0]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        calls = SideBySide(2)
        calls.run(lambda _: torch.ones(8) @ torch.ones(8), [None] * 4)
        assert (torch.get_num_threads(), number()) == (3, 3)
    finally:
        torch.set_num_threads(before)


def test_threads_end_with_the_last_reference() -> None:
    before = set(threading.enumerate())
    calls = SideBySide(2)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 2
    del calls
    for each in threads:
        each.join(timeout=30)
    assert not any(each.is_alive() for each in threads)
