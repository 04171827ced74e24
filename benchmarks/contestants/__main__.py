"""`python -m benchmarks.contestants ENTRY`: names of sets come in, seconds of rounds go out."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter

from benchmarks.album import read_album
from benchmarks.answers import answering
from benchmarks.contestants.entry import Absent, Contestant, Entry
from benchmarks.machine import family_memory_mb

KINDS = {
    "decode": "loading:Decoding",
    "processor": "loading:ReferenceProcessor",
    "threads": "loading:ThreadPool",
    "isolated": "loading:IsolatedDecoders",
    "product": "product:Product",
    "product in memory": "product:ProductInMemory",
    "model": "product:ModelOnly",
    "pair by pair": "transformers_loops:PairByPair",
    "batches": "transformers_loops:Batches",
    "torchmetrics": "others:Torchmetrics",
    "open_clip": "others:OpenClip",
}
"""Module and class; imported in the contestant's process only, since peers may be absent."""
WARM_UP_PAIRS = 8


def main(entry: Entry) -> None:
    """Warm up, say so, then run the named set for each line that comes."""
    os.sched_setaffinity(0, entry.cores)
    with answering() as answers:
        try:
            contestant = _opened(entry)
        except Absent as absent:
            print(json.dumps({"absent": str(absent)}), file=answers, flush=True)
            return
        sets = read_album(Path(entry.album))
        first = next(iter(sets.values()))[:WARM_UP_PAIRS]
        contestant.prepare(first)
        contestant.run(first)
        print("{}", file=answers, flush=True)
        for line in sys.stdin:
            pairs = sets[line.strip()][entry.share[0] :: entry.share[1]]
            contestant.prepare(pairs)
            started = perf_counter()
            values = contestant.run(pairs)
            answer = {"seconds": perf_counter() - started, "values": list(values), **_memory(entry)}
            print(json.dumps(answer), file=answers, flush=True)


def _opened(entry: Entry) -> Contestant:
    import torch  # noqa: PLC0415  # it counts the cores of this process when it is imported

    torch.set_num_threads(entry.threads)
    module, name = KINDS[entry.kind].split(":")
    opened: Contestant = getattr(import_module(f"benchmarks.contestants.{module}"), name)(entry)
    return opened


def _memory(entry: Entry) -> dict[str, float]:
    import torch  # noqa: PLC0415  # as above

    there = torch.cuda.max_memory_allocated() / 1e6 if entry.device == "cuda" else 0.0
    return {"memory_mb": family_memory_mb(), "device_mb": there}


if __name__ == "__main__":
    main(Entry.of_json(sys.argv[1]))
