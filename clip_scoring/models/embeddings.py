"""Embeddings by content: equal images and equal captions within reach are encoded once."""

from __future__ import annotations

import gc
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from clip_scoring.metrics import StageMetrics
from clip_scoring.models.calls import Calls

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
Embedding: TypeAlias = NDArray[np.float32]
"""Shape (D,), not normalised."""

_KEPT = 4096
_GOOD_CALLS = 50
_CUDA_OUT_OF_MEMORY = 2
_ALLOCATION_FAILED = ("CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: can't allocate memory")


class Embedder(Generic[K, T]):
    """Encodes contents that it has not seen lately, always `device_batch_size` rows at once.

    `encode(contents, rows)` returns at least one row of float32 (rows, D) for each content, blank
    contents behind them; contents of different `shape` never share a call. Since every call for a
    shape has the same number of rows, an embedding depends on its own content only, and one that
    was kept equals one that is made anew, to the bit.

    The one exception: after running out of memory calls have fewer rows, until enough of them went
    well, and embeddings of that time equal others within a tolerance only. They are forgotten when
    calls have all their rows again. `oom_backoffs` counts how often it came to that.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[Sequence[T], int], torch.Tensor],
        *,
        shape: Callable[[T], Hashable],
        device_batch_size: int,
        calls: Calls,
        kept: int = _KEPT,
    ) -> None:
        self._name = name
        self._calls = calls
        self._encode = encode
        self._shape = shape
        self._rows = self._device_batch_size = device_batch_size
        self._good_calls = 0
        self._kept: OrderedDict[K, Embedding] = OrderedDict()
        self._most_kept = kept
        self._counts = {"encoded": 0, "repeated": 0}
        self._backoffs = 0

    def embeddings(self, contents: Sequence[tuple[K, T]]) -> dict[K, Embedding | None]:
        """By key; None for what does not fit into memory even alone. Equal keys, equal contents."""
        kept = {key: self._kept[key] for key, _ in contents if key in self._kept}
        missing = {key: content for key, content in contents if key not in kept}
        self._counts["encoded"] += len(missing)
        self._counts["repeated"] += len(contents) - len(missing)
        fresh = self._encoded(missing)
        embeddings = {key: fresh[key] if key in fresh else kept[key] for key, _ in contents}
        for key, embedding in embeddings.items():
            self._keep(key, embedding)
        return embeddings

    def drain_metrics(self) -> StageMetrics:
        """Counts since this was asked last."""
        counts = {f"{self._name}_{what}": count for what, count in self._counts.items()}
        measures = StageMetrics(
            counts={**counts, "oom_backoffs": self._backoffs},
            peaks={f"{self._name}_device_batch_size": self._rows},
        )
        self._counts, self._backoffs = dict.fromkeys(self._counts, 0), 0
        return measures

    def _keep(self, key: K, embedding: Embedding | None) -> None:
        if embedding is None or not np.isfinite(embedding).all():
            return
        # A copy: a row of the batch's array would keep all of it alive.
        self._kept[key] = embedding if embedding.base is None else embedding.copy()
        self._kept.move_to_end(key)
        if len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)

    def _encoded(self, missing: Mapping[K, T]) -> dict[K, Embedding | None]:
        alike: dict[Hashable, list[K]] = defaultdict(list)
        for key, content in missing.items():
            alike[self._shape(content)].append(key)
        waiting = deque(alike.values())
        encoded: dict[K, torch.Tensor | None] = {}
        while waiting:
            groups = self._next_groups(waiting)
            failed = self._encode_groups(groups, missing, encoded)
            if not failed:
                self._grow_back(len(groups))
            elif self._back_off():
                waiting.extendleft(reversed(failed))
            else:
                encoded.update(dict.fromkeys(chain.from_iterable(failed)))
        return _copied(encoded)

    def _encode_groups(
        self,
        groups: Sequence[list[K]],
        contents: Mapping[K, T],
        encoded: dict[K, torch.Tensor | None],
    ) -> list[list[K]]:
        """One call for each group; returns those that did not fit into memory."""
        calls = [[contents[key] for key in keys] for keys in groups]
        done = list(zip(groups, self._calls.run(self._attempt, calls), strict=True))
        for keys, rows in done:
            if rows is not None:
                encoded.update((key, rows[at : at + 1]) for at, key in enumerate(keys))
        return [keys for keys, rows in done if rows is None]

    def _next_groups(self, waiting: deque[list[K]]) -> list[list[K]]:
        """What is encoded at once; while memory is short, one call at a time."""
        most = self._calls.at_once if self._rows == self._device_batch_size else 1
        groups: list[list[K]] = []
        while waiting and len(groups) < most:
            keys = waiting.popleft()
            groups.append(keys[: self._rows])
            if rest := keys[self._rows :]:
                waiting.appendleft(rest)
        return groups

    def _attempt(self, contents: Sequence[T]) -> torch.Tensor | None:
        """One call; None when it ran out of memory, all that it held being free again."""
        try:
            return self._encode(contents, self._rows)
        except (RuntimeError, MemoryError) as failed:
            if not out_of_memory(failed):
                raise
        return None

    def _back_off(self) -> bool:
        """Halve the rows; False when there is but one."""
        self._backoffs += 1
        self._good_calls = 0
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._rows == 1:
            return False
        self._rows //= 2
        return True

    def _grow_back(self, good_calls: int) -> None:
        self._good_calls += good_calls
        if self._rows == self._device_batch_size or self._good_calls < _GOOD_CALLS:
            return
        self._rows, self._good_calls = min(2 * self._rows, self._device_batch_size), 0
        if self._rows == self._device_batch_size:
            self._kept.clear()


def _copied(encoded: Mapping[K, torch.Tensor | None]) -> dict[K, Embedding | None]:
    """The rows on the host: one copy for all of them, since each waits for all before it."""
    there = [rows for rows in encoded.values() if rows is not None]
    here = iter(torch.cat(there).cpu().numpy() if there else ())
    return {key: None if rows is None else next(here) for key, rows in encoded.items()}


def out_of_memory(failed: BaseException) -> bool:
    """Whether less work at once may mend it; a dead device, also a RuntimeError, is not."""
    if isinstance(failed, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(failed, torch.AcceleratorError):
        return getattr(failed, "error_code", None) == _CUDA_OUT_OF_MEMORY
    return any(text in str(failed) for text in _ALLOCATION_FAILED)
