"""Pairs of every size, mode and length, and their similarities by transformers alone."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.photographs import MODES, encoded, photograph, words
from clip_scoring.decoder import resize_of
from clip_scoring.fingerprint import Tier
from clip_scoring.images.decode import decode
from clip_scoring.models.clip import ClipScorer
from clip_scoring.models.weights import Weights
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Outcome, Score

SEED = 31
COUNTS = {
    "640×480": 90, "1024×768": 60, "2048×1536": 20, "200×300": 60, "odd sizes": 40,
    "mixed modes": 63,
}  # fmt: skip
"""Of JPEGs with these edges, of JPEGs with odd edges of 900 to 2,100, of all MODES in turn."""
CONTEXT = 77
_CAPTIONS = 100
_MOST_WORDS = 165
"""About 200 tokens."""
_BATCH = 16
Similarities = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Specimen:
    """An encoded image of a named group, and a caption."""

    group: str
    body: bytes
    caption: str


def specimens(counts: Mapping[str, int] = COUNTS) -> list[Specimen]:
    """So many of each group; every other caption is short, the rest goes up to 200 tokens."""
    random = np.random.default_rng(SEED)
    longest = [25 if at % 2 else _MOST_WORDS for at in range(_CAPTIONS)]
    captions = cycle([words(random, 1, most) for most in longest])
    return [
        Specimen(group, body, next(captions))
        for group, count in counts.items()
        for body in _bodies(random, group, count)
    ]


def _bodies(random: np.random.Generator, group: str, count: int) -> Iterator[bytes]:
    encoders = cycle(MODES.values()) if group == "mixed modes" else cycle([encoded])
    for encode in islice(encoders, count):
        yield encode(photograph(random, *_size(random, group)))


def _size(random: np.random.Generator, group: str) -> tuple[int, int]:
    match group:
        case "odd sizes":
            width, height = random.integers(450, 1050, 2) * 2 + 1
        case "mixed modes":
            width, height = random.integers(150, 600, 2)
        case _:
            width, height = map(int, group.split("×"))
    return int(width), int(height)


@torch.inference_mode()
def by_transformers(folder: Path, given: Sequence[Specimen]) -> Similarities:
    """Cosines by its own processor, with captions padded to the context length, in float32."""
    model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor: Any = CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer: Any = CLIPTokenizer.from_pretrained(folder)
    captions = list(dict.fromkeys(each.caption for each in given))

    def see(some: Sequence[Specimen]) -> torch.Tensor:
        pixels = processor(images=[as_rgb(each.body) for each in some], return_tensors="pt")
        embeddings: torch.Tensor = model.get_image_features(**pixels).pooler_output
        return embeddings

    def read(some: Sequence[str]) -> torch.Tensor:
        text = tokenizer(
            some, return_tensors="pt", padding="max_length", truncation=True, max_length=CONTEXT
        )
        embeddings: torch.Tensor = model.get_text_features(**text).pooler_output
        return embeddings

    seen = torch.cat([see(some) for some in _cut(given)])
    known = torch.cat([read(some) for some in _cut(captions)])
    place = {caption: at for at, caption in enumerate(captions)}
    asked = known[[place[each.caption] for each in given]]
    return torch.nn.functional.cosine_similarity(seen, asked).double().numpy()


def _cut(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[at : at + _BATCH] for at in range(0, len(values), _BATCH))


def as_rgb(body: bytes) -> Image.Image:
    """What the processor is fed with: upright, over white, upper bytes; else Pillow's own RGB."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(body)))
    if image.mode == "I;16":
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def by_product(
    scorer: ClipScorer, weights: Weights, tier: Tier, given: Sequence[Specimen]
) -> Similarities:
    """Similarities by the product; the scorer knows the captions from the tier before."""
    resize = resize_of(tier, weights.geometry)
    found: list[Outcome] = []
    for at in range(0, len(given), _BATCH):
        some = given[at : at + _BATCH]
        images = [
            DecodedImage(decode(each.body, weights.geometry, resize), f"{tier} {at + i}".encode())
            for i, each in enumerate(some)
        ]
        found += scorer.score(images, [each.caption for each in some])
    return np.array([_similarity(each) for each in found])


def _similarity(outcome: Outcome) -> float:
    if not isinstance(outcome, Score):
        raise RuntimeError(f"a specimen was rejected: {outcome}")
    return outcome.similarity
