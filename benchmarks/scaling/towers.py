"""What the towers of a CLIP have to compute for a pair, and what GPUs can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tower:
    """A transformer's shape; an image tower also cuts patches of `patch` pixels."""

    layers: int
    width: int
    tokens: int = 0
    patch: int = 0

    def gflop(self, tokens: int) -> float:
        """One forward pass: 24 width² a token and layer for its matrices, whose inner layer is
        four widths wide, 4 width · tokens for attention; a multiply and an add count as two.
        """
        blocks = self.layers * tokens * (24 * self.width**2 + 4 * self.width * tokens)
        patches = (tokens - 1) * 2 * 3 * self.patch**2 * self.width if self.patch else 0
        return (blocks + patches) / 1e9


TOWERS: Mapping[str, tuple[Tower, Tower]] = {
    "ViT-B/32": (Tower(12, 768, tokens=50, patch=32), Tower(12, 512)),
    "ViT-L/14": (Tower(24, 1024, tokens=257, patch=14), Tower(12, 768)),
}
"""Image and text tower, as OpenAI published them, for images of 224×224."""
GPUS: Mapping[str, float] = {"T4": 65, "L4": 121, "A100": 312, "H100 SXM": 989, "H200": 989}
"""Peak TFLOPS of dense FP16 on tensor cores: NVIDIA's data sheets, halved where they count
sparsity."""


def gflop_a_pair(weights: str, caption_tokens: int) -> float:
    """Both towers on one image and one caption."""
    image, text = TOWERS[weights]
    return image.gflop(image.tokens) + text.gflop(caption_tokens)
