"""StageMetrics weights on scenes they never learned from, drawn by our renderer and by another."""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from clip_scoring.sample.drawing import render
from clip_scoring.sample.scene_captions import caption_of
from clip_scoring.sample.scenes import Scene, random_scene
from clip_scoring.training.tiny.foreign_scenes import render_foreign

Similarities = NDArray[np.float32]
"""Pictures x captions; those that belong together lie on the diagonal."""

GROUP = 100
"""How many distinct captions each picture is to choose from."""
WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "tiny"


class Renderer(StrEnum):
    """Who draws the held-out scenes."""

    OURS = "ours"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class Figures:
    """How well similarities tell the captions of the pictures from other captions.

    `auc` is the chance that a matched pair has a higher similarity than a shuffled one, `top_1`
    the part of pictures whose own caption comes first among 100 distinct ones; `matched` and
    `shuffled` are the 5th, 50th and 95th percentiles of the similarities.
    """

    pairs: int
    auc: float
    top_1: float
    matched: tuple[float, float, float]
    shuffled: tuple[float, float, float]


def main() -> None:
    """Prints the figures of the weights for both renderers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--groups", type=int, default=20, help="groups of 100 scenes per renderer")
    chosen = parser.parse_args()
    for renderer in Renderer:
        figures = measure(chosen.weights, renderer, groups=chosen.groups)
        print(
            f"{renderer}: {figures.pairs} pairs, AUC {figures.auc:.4f}, top-1 {figures.top_1:.3f}"
        )
        for name, spread in (("matched", figures.matched), ("shuffled", figures.shuffled)):
            low, middle, high = spread
            print(f"  {name}: median {middle:.2f}, 5 % below {low:.2f}, 5 % above {high:.2f}")


def measure(weights: Path, renderer: Renderer, *, groups: int) -> Figures:
    """The figures over `groups` times 100 held-out scenes, the same at every call."""
    model = CLIPModel.from_pretrained(weights, local_files_only=True).eval()
    processor = CLIPProcessor.from_pretrained(weights, local_files_only=True)
    tables = []
    for group in range(groups):
        rng = random.Random(f"held out {renderer} {group}")
        scenes, captions = distinct_pairs(rng, GROUP)
        pictures = [draw(scene, renderer, rng) for scene in scenes]
        tables.append(similarities(model, processor, pictures, captions))
    return figures_of(tables)


def distinct_pairs(rng: random.Random, count: int) -> tuple[list[Scene], list[str]]:
    """`count` scenes with a caption each, no two captions alike."""
    pairs: dict[str, Scene] = {}
    while len(pairs) < count:
        scene = random_scene(rng)
        pairs.setdefault(caption_of(scene, rng), scene)
    return list(pairs.values()), list(pairs)


def draw(scene: Scene, renderer: Renderer, rng: random.Random) -> Image.Image:
    """A picture of `scene` with a longer side of 64 to 512 pixels."""
    longer_side = round(64 * 2 ** rng.uniform(0, 3))
    match renderer:
        case Renderer.OURS:
            return render(scene, rng, longer_side=longer_side)
        case Renderer.FOREIGN:
            numbers = np.random.default_rng(rng.getrandbits(64))
            return render_foreign(scene, numbers, longer_side=longer_side)


@torch.inference_mode()
def similarities(
    model: CLIPModel, processor: CLIPProcessor, pictures: list[Image.Image], captions: list[str]
) -> Similarities:
    """Cosines of all pictures with all captions, float32 [pictures, captions]."""
    inputs = processor(text=captions, images=pictures, return_tensors="pt", padding=True)
    seen = model(**inputs)
    table: Similarities = (seen.image_embeds @ seen.text_embeds.T).numpy()
    return table


def figures_of(tables: list[Similarities]) -> Figures:
    """The figures of square tables, each pair on the diagonal of its table."""
    matched = np.concatenate([table.diagonal() for table in tables])
    shuffled = np.concatenate([table[~np.eye(len(table), dtype=bool)] for table in tables])
    hits = [table.argmax(1) == np.arange(len(table)) for table in tables]
    return Figures(
        pairs=len(matched),
        auc=area_under_curve(matched, shuffled),
        top_1=float(np.mean(np.concatenate(hits))),
        matched=_percentiles(matched),
        shuffled=_percentiles(shuffled),
    )


def area_under_curve(higher: NDArray[np.float32], lower: NDArray[np.float32]) -> float:
    """The chance that one of `higher` exceeds one of `lower`, ties counting half."""
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, "left") + np.searchsorted(ordered, higher, "right")
    return float(below.mean() / 2 / len(lower))


def _percentiles(values: NDArray[np.float32]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, (5, 50, 95))
    return float(low), float(middle), float(high)


if __name__ == "__main__":
    main()
