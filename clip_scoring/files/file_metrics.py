"""Metrics of scoring a file, as a tree for machines and as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from clip_scoring.files.tally import Tally
from clip_scoring.fingerprint import Fingerprint
from clip_scoring.metrics import StageMetrics
from clip_scoring.runs import bottleneck

_STAGES = ("read", "fetch", "decode", "score", "commit")


def metrics_of(
    tally: Tally,
    measures: StageMetrics,
    *,
    fingerprint: Fingerprint,
    device: str,
    machine: Mapping[str, str],
) -> dict[str, Any]:
    """Seconds are of work, over all calls that it took; bytes are those of images."""
    seconds = measures.seconds.get("wall", 0.0)
    return {
        "rows": tally.rows,
        "scored": tally.scored,
        "rejected": tally.rejected,
        "rejection_rate": round(tally.rejection_rate, 6),
        "captions_truncated": tally.truncated,
        "rejections": dict(tally.rejections.most_common()),
        "seconds": round(seconds, 3),
        "pairs_per_second": round(tally.rows / seconds, 2) if seconds else None,
        "stage_seconds": {stage: round(measures.seconds.get(stage, 0.0), 3) for stage in _STAGES},
        "verdict": bottleneck(measures.seconds),
        "image_bytes": measures.counts.get("bytes", 0),
        "counts": {name: count for name, count in measures.counts.items() if name != "bytes"},
        "peaks": dict(measures.peaks),
        "device": device,
        "fingerprint": {"digest": fingerprint.digest, **fingerprint.parts()},
        "machine": dict(machine),
    }


def as_json(metrics: Mapping[str, Any]) -> str:
    """One object, indented."""
    return json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"


def as_text(metrics: Mapping[str, Any]) -> str:
    """One line for each figure."""
    return "\n".join(_lines(metrics, "")) + "\n"


def _lines(tree: Mapping[str, Any], indent: str) -> Iterator[str]:
    width = max(map(len, tree), default=0)
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ")
        else:
            shown = "-" if value is None else value
            yield f"{indent}{name:{width}}  {shown}"
