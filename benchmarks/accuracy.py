"""How far similarities are from those of transformers: by weights, tier, number format and size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.figures import Figure, Result
from benchmarks.random_weights import write_weights
from benchmarks.specimens import (
    COUNTS,
    Similarities,
    Specimen,
    by_product,
    by_transformers,
    specimens,
)
from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.models.clip import open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.weights import Weights, open_weights

LARGEST = {Tier.EXACT: 1e-6, Tier.FAST: 2e-4}
"""What is promised of float32."""
QUICK_COUNTS = {group: 2 for group in COUNTS} | {"mixed modes": 9}
QUICK_LAYERS = 2
FORMATS = [
    ("cpu", Dtype.FLOAT32),
    ("cpu", Dtype.INT8),
    ("cpu", Dtype.BFLOAT16),
    ("cuda", Dtype.FLOAT32),
    ("cuda", Dtype.FLOAT16),
    ("cuda", Dtype.BFLOAT16),
]


@dataclass(frozen=True, slots=True)
class Setting:
    """With what similarities were computed."""

    weights: str
    tier: Tier
    dtype: Dtype
    device: str

    def __str__(self) -> str:
        return f"{self.weights}, {self.tier}, {self.dtype} on {self.device}"


@dataclass(frozen=True, slots=True)
class Row:
    """Largest, mean and 99th percentile of |difference|, for each group and for all."""

    setting: Setting
    differences: Mapping[str, Mapping[str, float]]

    @property
    def largest(self) -> float:
        """Over all specimens."""
        return self.differences["all"]["max"]


def measure(quick: bool) -> Result:
    """A row for each tier and number format that this machine computes in; the others missing."""
    given = specimens(QUICK_COUNTS if quick else COUNTS)
    found: list[Row] = []
    missing: dict[str, str] = {}
    spread: dict[str, float] = {}
    with TemporaryDirectory(prefix="clip-benchmark-") as folder:
        vit = write_weights(Path(folder) / "vit", layers=QUICK_LAYERS if quick else None)
        for name, location in (("tiny", "tiny"), ("ViT-B/32", str(vit))):
            weights = open_weights(location)
            expected = by_transformers(weights.folder, given)
            spread[name] = float(f"{expected.std():.3g}")
            for device, dtype in FORMATS:
                setting = Setting(name, Tier.EXACT, dtype, device)
                try:
                    for each, values in _measured(weights, setting, given, Path(folder) / "cache"):
                        found.append(Row(each, _differences(np.abs(values - expected), given)))
                except SettingsInvalid as cannot:
                    missing[f"{name}, {dtype} on {device}"] = f"not measured: {cannot}"
    details = {
        "specimens": {each: len(part) for each, part in _groups(given).items()},
        "spread": spread,
        "rows": [asdict(each) for each in found],
    }
    return Result([_figure(each) for each in found], details=details, missing=missing)


def _measured(
    weights: Weights, setting: Setting, given: Sequence[Specimen], cache: Path
) -> Iterator[tuple[Setting, Similarities]]:
    """Both tiers with one scorer; raises SettingsInvalid where the device cannot do it."""
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise SettingsInvalid("torch sees no GPU")
    fingerprint = weights.fingerprint(tier=setting.tier, dtype=setting.dtype)
    scorer = open_clip(weights, fingerprint, ComputeOptions(device=setting.device, cache=cache))
    for tier in LARGEST:
        yield replace(setting, tier=tier), by_product(scorer, weights, tier, given)


def _differences(off: Similarities, given: Sequence[Specimen]) -> dict[str, dict[str, float]]:
    return {group: _summary(off[places]) for group, places in _groups(given).items()}


def _groups(given: Sequence[Specimen]) -> dict[str, list[int]]:
    """Places of the specimens of each group, and of all."""
    names = dict.fromkeys(each.group for each in given)
    places = {name: [at for at, each in enumerate(given) if each.group == name] for name in names}
    return {**places, "all": list(range(len(given)))}


def _summary(off: Similarities) -> dict[str, float]:
    values = {"max": off.max(), "mean": off.mean(), "p99": np.quantile(off, 0.99)}
    return {name: float(f"{each:.3g}") for name, each in values.items()}


def _figure(row: Row) -> Figure:
    largest = LARGEST[row.setting.tier]
    promised = row.setting.dtype is Dtype.FLOAT32
    targets = {f"<= {largest:g}": row.largest <= largest} if promised else {}
    return Figure(str(row.setting), row.largest, "largest", targets=targets)
