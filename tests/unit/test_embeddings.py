"""Contents are encoded once within reach, always so many rows at once, fewer without memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from clip_scoring.models.calls import Calls, InTurn, SideBySide
from clip_scoring.models.embeddings import Embedder, out_of_memory


class Tower:
    """Encodes a number n as (n, 1), up to a number of rows; notes what it was called with."""

    def __init__(self, *, fits: int = 10**9) -> None:
        self.fits = fits
        self.calls: list[tuple[list[int], int]] = []

    def __call__(self, contents: Sequence[int], rows: int) -> torch.Tensor:
        if rows > self.fits:
            raise torch.OutOfMemoryError(f"{rows} rows")
        self.calls.append((list(contents), rows))
        embeddings = torch.ones(rows, 2)
        embeddings[: len(contents), 0] = torch.tensor(contents, dtype=torch.float32)
        return embeddings


def embedder(
    tower: Tower, *, rows: int = 4, kept: int = 100, calls: Calls | None = None
) -> Embedder[int, int]:
    return Embedder(
        "images",
        tower,
        shape=lambda n: n % 2,
        device_batch_size=rows,
        calls=calls or InTurn(),
        kept=kept,
    )


def encode(under_test: Embedder[int, int], *numbers: int) -> list[float | None]:
    found = under_test.embeddings([(n, n) for n in numbers])
    return [None if (row := found[n]) is None else float(row[0]) for n in numbers]


def test_every_call_has_the_same_rows_and_one_shape() -> None:
    tower = Tower()
    assert encode(embedder(tower), 1, 2, 3, 5, 7, 9, 4) == [1, 2, 3, 5, 7, 9, 4]
    assert tower.calls == [([1, 3, 5, 7], 4), ([9], 4), ([2, 4], 4)]


def test_what_repeats_is_encoded_once_and_counted() -> None:
    tower = Tower()
    under_test = embedder(tower)
    encode(under_test, 2, 2, 4)
    assert encode(under_test, 4, 6, 2) == [4, 6, 2]
    assert tower.calls == [([2, 4], 4), ([6], 4)]
    assert under_test.drain_metrics().counts == {
        "images_encoded": 3, "images_repeated": 3, "oom_backoffs": 0
    }  # fmt: skip
    assert under_test.drain_metrics().counts["images_repeated"] == 0


def test_what_was_not_seen_for_long_is_forgotten() -> None:
    tower = Tower()
    under_test = embedder(tower, kept=2)
    for number in (2, 4, 2, 6, 4):
        encode(under_test, number)
    assert [call[0] for call in tower.calls] == [[2], [4], [6], [4]]


def test_more_contents_at_once_than_are_kept_are_all_found() -> None:
    assert encode(embedder(Tower(), kept=2), *range(0, 40, 2)) == list(range(0, 40, 2))


def test_out_of_memory_halves_the_rows_until_it_fits() -> None:
    tower = Tower(fits=3)
    under_test = embedder(tower, rows=8)
    assert encode(under_test, *range(0, 20, 2)) == list(range(0, 20, 2))
    assert {rows for _, rows in tower.calls} == {2}
    measures = under_test.drain_metrics()
    assert (measures.counts["oom_backoffs"], measures.peaks["images_device_batch_size"]) == (2, 2)


def test_rows_grow_back_after_enough_good_calls() -> None:
    tower = Tower(fits=1)
    under_test = embedder(tower, rows=4, kept=0)
    encode(under_test, 0)
    tower.fits = 4
    for number in range(2, 204, 2):
        encode(under_test, number)
    assert [rows for _, rows in tower.calls] == [1] * 50 + [2] * 50 + [4] * 2


def test_embeddings_of_smaller_calls_are_forgotten_when_calls_have_all_their_rows_again() -> None:
    tower = Tower(fits=2)
    under_test = embedder(tower, rows=4)
    encode(under_test, 0)
    tower.fits = 4
    for number in range(2, 102, 2):
        encode(under_test, number)
    tower.calls.clear()
    assert encode(under_test, 0, 100) == [0, 100]
    assert tower.calls == [([0], 4)]


def test_a_kept_embedding_is_found_although_the_same_call_makes_it_forgotten() -> None:
    tower = Tower(fits=2)
    under_test = embedder(tower, rows=4)
    for number in range(0, 98, 2):
        encode(under_test, number)
    assert encode(under_test, 0, 98) == [0, 98]
    assert under_test.drain_metrics().peaks["images_device_batch_size"] == 4


def test_what_does_not_fit_alone_costs_only_itself() -> None:
    class Picky(Tower):
        def __call__(self, contents: Sequence[int], rows: int) -> torch.Tensor:
            if 6 in contents:
                raise torch.OutOfMemoryError
            return super().__call__(contents, rows)

    assert encode(embedder(Picky()), 2, 4, 6, 8) == [2, 4, None, 8]


def test_what_is_not_finite_is_not_kept() -> None:
    class Broken(Tower):
        def __call__(self, contents: Sequence[int], rows: int) -> torch.Tensor:
            return super().__call__(contents, rows) * torch.nan

    tower = Broken()
    under_test = embedder(tower)
    for _ in range(2):
        found = under_test.embeddings([(2, 2)])[2]
        assert found is not None
        assert np.isnan(found).all()
    assert len(tower.calls) == 2


def test_calls_side_by_side_give_each_content_its_own_row() -> None:
    tower = Tower()
    under_test = embedder(tower, calls=SideBySide(3))
    numbers = range(1, 60)
    assert encode(under_test, *numbers) == list(numbers)
    assert {rows for _, rows in tower.calls} == {4}
    assert len(tower.calls) == 8 + 8


def test_what_does_not_fit_side_by_side_is_tried_alone_in_fewer_rows() -> None:
    tower = Tower(fits=2)
    under_test = embedder(tower, calls=SideBySide(3))
    assert encode(under_test, *range(2, 26, 2)) == list(range(2, 26, 2))
    assert [contents for contents, _ in tower.calls] == [[n, n + 2] for n in range(2, 26, 4)]
    assert under_test.drain_metrics().counts["oom_backoffs"] == 1


@pytest.mark.parametrize(
    ("failed", "short"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
    ],
    ids=str,
)
def test_only_a_lack_of_memory_asks_for_less_work(failed: Exception, short: bool) -> None:
    assert out_of_memory(failed) is short


def test_other_errors_pass_through() -> None:
    def broken(contents: Sequence[int], rows: int) -> torch.Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        embedder(broken).embeddings([(1, 1)])  # type: ignore[arg-type]
