"""Metrics and the report with pictures, written next to a scored file."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_scoring.display import redacted_cell
from clip_scoring.errors import SettingsInvalid
from clip_scoring.files import file_metrics
from clip_scoring.files.score import FileResult, FileScoring
from clip_scoring.files.tally import MATRIX_PAIRS, ScoredPair
from clip_scoring.files.writer import require_apart
from clip_scoring.filesystem import atomic_write
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Rejection
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.wiring import cores_here

_PACKAGES = ("clip-scoring", "torch", "transformers", "pillow", "numpy")
_QUALITY = 85


def require_places(options: FileOptions, metrics: Path | None, report: Path | None) -> None:
    """Raise SettingsInvalid, before anything is scored, for what cannot be written there."""
    if metrics is not None:
        require_apart(options.path, options.output_path, options.journal, *metrics_paths(metrics))
    if report is not None and report.exists() and not report.is_dir():
        raise SettingsInvalid(f"report {report} must be a directory")


def metrics_paths(path: Path) -> tuple[Path, Path]:
    """Where the JSON and the text go; raises SettingsInvalid unless both can be regular files."""
    if not path.name:
        raise SettingsInvalid(f"metrics {path} is not a regular file")
    tree = path.with_suffix(".json") if path.suffix == ".txt" else path
    text = path if path.suffix == ".txt" else path.with_suffix(".txt")
    for file in (tree, text):
        if file.exists() and not file.is_file():
            raise SettingsInvalid(f"metrics {file} is not a regular file")
    if not tree.parent.is_dir():
        raise SettingsInvalid(f"metrics {tree}: no such folder")
    return tree, text


def write_metrics(result: FileResult, path: Path) -> None:
    """JSON to the path, and text next to it."""
    metrics = _metrics(result)
    tree, text = metrics_paths(path)
    atomic_write(tree, file_metrics.as_json(metrics))
    atomic_write(text, file_metrics.as_text(metrics))


def write_report(scoring: FileScoring, result: FileResult, folder: Path) -> Path:
    """The page and its pictures below the folder; the path of the page."""
    from clip_scoring.reporting import write_report as write  # noqa: PLC0415  # takes a second
    from clip_scoring.reporting.figures import (  # noqa: PLC0415  # as above
        ReportFigures,
        ReportPair,
    )

    tally = result.tally

    def shown(pairs: Sequence[ScoredPair]) -> list[ReportPair]:
        images = scoring.images(pairs)
        return [
            ReportPair(
                pair.name,
                pair.image_uri,
                pair.caption,
                pair.similarity,
                _picture(images[at]),
            )
            for at, pair in enumerate(pairs)
        ]

    matrix, compared = _matrix(scoring, tally.first)
    figures = ReportFigures(
        title=scoring.options.path.name,
        facts=_facts(result),
        histogram=tally.histogram,
        rejections=tally.rejections,
        throughput=result.throughput,
        lowest=shown(tally.lowest),
        highest=shown(tally.highest),
        random=shown(tally.drawn),
        matrix=matrix,
        matrix_names=[redacted_cell(pair.name) for pair in compared],
    )
    return write(figures, folder)


def _metrics(result: FileResult) -> dict[str, object]:
    return file_metrics.metrics_of(
        result.tally,
        result.measures,
        fingerprint=result.fingerprint,
        device=result.device,
        machine=_machine(),
    )


def _machine() -> dict[str, str]:
    settings = {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": str(cores_here()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
    }
    return settings | {name: version(name) for name in _PACKAGES}


def _facts(result: FileResult) -> dict[str, str]:
    metrics, tally = _metrics(result), result.tally
    rate = metrics["pairs_per_second"]
    return {
        "rows": f"{tally.rows:,}",
        "scored": f"{tally.scored:,}",
        "rejected": f"{tally.rejected:,} ({tally.rejection_rate:.1%})",
        "pairs/s": "-" if rate is None else f"{rate}",
        "verdict": str(metrics["verdict"]),
        "captions cut": f"{tally.truncated:,}",
        "device": result.device,
        "weights": result.fingerprint.revision,
        "tier": str(result.fingerprint.tier),
        "dtype": str(result.fingerprint.dtype),
        "fingerprint": result.fingerprint.digest,
        **_machine(),
    }


def _matrix(
    scoring: FileScoring, pairs: Sequence[ScoredPair]
) -> tuple[NDArray[np.float32] | None, Sequence[ScoredPair]]:
    """All images against all captions, where there are few enough and all can be loaded again."""
    if not 1 < len(pairs) <= MATRIX_PAIRS:
        return None, []
    images = scoring.images(pairs)
    there = [at for at, image in enumerate(images) if isinstance(image, DecodedImage)]
    decoded = [images[at] for at in there]
    captions = [scoring.options.apply_template(pairs[at].caption) for at in there]
    matrix = scoring.scorer.similarities(
        [image for image in decoded if isinstance(image, DecodedImage)], captions
    )
    if not np.isfinite(matrix).all():
        return None, []
    return matrix, [pairs[at] for at in there]


def _picture(image: DecodedImage | Rejection) -> bytes | None:
    """The pixels that the image tower got, as JPEG."""
    if isinstance(image, Rejection):
        return None
    stream = io.BytesIO()
    Image.fromarray(image.pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
