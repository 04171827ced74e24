"""The training's loss: contrast within the batch, and naming the facts it saw."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.clip.modeling_clip import CLIPOutput

from clip_scoring.training.tiny.pool import ALL_FACTS, NONE_KIND

_PATCH_FACTS, _GROUND_FACTS = ALL_FACTS[4:7], ALL_FACTS[7:]
_DENSE_LAYER = 3


def contrast(seen: CLIPOutput, facts: Tensor, named: Tensor) -> tuple[Tensor, float]:
    """The symmetric InfoNCE loss and how many captions are found by their picture.

    A caption that is true of another picture of the batch as well is no negative for it: `facts`
    int64 [n, 9] says what is in the pictures, `named` bool [n, 9] what the captions tell.
    """
    alike = (facts[:, None] == facts[None, :]) | ~named[None, :]
    also_true = alike.all(2) & ~torch.eye(len(facts), dtype=torch.bool)
    logits = seen.logits_per_image.masked_fill(also_true, -1e4)
    target = torch.arange(len(facts))
    loss = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    return loss / 2, (logits.argmax(1) == target).float().mean().item()


class Supervision(nn.Module):
    """Linear heads, thrown away after the training, that make each tower name the facts.

    They teach the patches of an inner layer what they cover and the embeddings of both towers,
    through the same weights, what they stand for; contrast alone learns this far slower.
    """

    def __init__(self, width: int, projection: int) -> None:
        super().__init__()
        self.whole = nn.Linear(projection, sum(ALL_FACTS))
        self.patch = nn.Linear(width, sum(_PATCH_FACTS) + sum(_GROUND_FACTS))

    def forward(self, seen: CLIPOutput, facts: Tensor, named: Tensor, patches: Tensor) -> Tensor:
        """The loss of all heads; `patches` int64 [n, 64, 3] as in `Pool`."""
        everything = torch.ones_like(named)
        image = self._whole_loss(seen.image_embeds, facts, everything)
        text = self._whole_loss(seen.text_embeds, facts, named)
        hidden = seen.vision_model_output.hidden_states[_DENSE_LAYER][:, 1:]
        heads = torch.split(self.patch(hidden), [sum(_PATCH_FACTS), sum(_GROUND_FACTS)], 2)
        return 0.3 * (image + text) + self._patch_loss(heads[0], heads[1], facts, patches)

    def _whole_loss(self, embeddings: Tensor, facts: Tensor, named: Tensor) -> Tensor:
        heads = torch.split(self.whole(embeddings * 10), list(ALL_FACTS), 1)
        losses = [
            functional.cross_entropy(logits, facts[:, fact], reduction="none")
            for fact, logits in enumerate(heads)
        ]
        return (torch.stack(losses, 1) * named).sum() / named.sum()

    def _patch_loss(self, heads: Tensor, ground: Tensor, facts: Tensor, patches: Tensor) -> Tensor:
        inside = patches[..., 0] != NONE_KIND
        weight = torch.where(inside, 1.0, 0.15)
        loss = torch.zeros(())
        for fact, logits in enumerate(torch.split(heads, list(_PATCH_FACTS), 2)):
            losses = functional.cross_entropy(
                logits.flatten(0, 1), patches[..., fact].flatten(), reduction="none"
            )
            loss = loss + (losses * weight.flatten()).sum() / weight.sum() / len(_PATCH_FACTS)
        behind = facts[:, None, 7:].expand(-1, patches.shape[1], -1)
        for fact, logits in enumerate(torch.split(ground, list(_GROUND_FACTS), 2)):
            losses = functional.cross_entropy(
                logits.flatten(0, 1), behind[..., fact].flatten(), reduction="none"
            )
            loss = loss + 0.2 * losses.mean()
        return loss
