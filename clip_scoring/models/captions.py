"""Captions to token ids, cut and padded as their text tower needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    CLIPTextConfig,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipTextConfig,
    SiglipTokenizer,
)

from clip_scoring.errors import WeightsInvalid
from clip_scoring.models.pooled import ARGMAX_POOLING_EOS
from clip_scoring.models.weights import Architecture, Weights

_CONFIGS = {Architecture.CLIP: CLIPTextConfig, Architecture.SIGLIP: SiglipTextConfig}
_STEP = 8
"""Trimmed captions are padded to multiples of this, so that few lengths occur."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One caption: `ids` at most as many as the context has places, and whether it was cut."""

    ids: tuple[int, ...]
    cut: bool


class CaptionTokenizer:
    """Tokenizes captions; one that is over the context length keeps its end-of-text token."""

    def __init__(self, weights: Weights) -> None:
        config = _CONFIGS[weights.architecture].from_pretrained(weights.folder)
        self._tokenizer = tokenizer_of(weights)
        self._context: int = config.max_position_embeddings
        self._end: int = self._tokenizer.eos_token_id
        pad = self._tokenizer.pad_token_id
        self._pad: int = self._end if pad is None else pad
        if self._pad is None:
            raise WeightsInvalid(f"weights {weights.folder}: the tokenizer has no padding token")
        largest = max(self._tokenizer.get_vocab().values())
        if largest >= config.vocab_size:
            raise WeightsInvalid(
                f"weights {weights.folder}: the tokenizer gives ids up to {largest}, "
                f"the text tower knows {config.vocab_size}: they do not belong together"
            )
        self._masks = "attention_mask" in self._tokenizer.model_input_names
        # Trimming is exact where attention is causal and the text is pooled at its end. The
        # largest id must then not be the padding's.
        by_argmax = config.eos_token_id == ARGMAX_POOLING_EOS
        self._trims = weights.architecture is Architecture.CLIP and (
            self._pad <= self._end or not by_argmax
        )

    def tokenize(self, captions: Sequence[str]) -> list[Tokens]:
        """The tokens of each caption."""
        if not captions:
            return []
        tokenized = self._tokenizer(list(captions), verbose=False)["input_ids"]
        return [self._tokens(ids) for ids in tokenized]

    def tokenize_present(self, captions: Sequence[str | None]) -> list[Tokens | None]:
        """The tokens of each caption, None where there is none."""
        tokens = iter(self.tokenize([caption for caption in captions if caption is not None]))
        return [None if caption is None else next(tokens) for caption in captions]

    def length(self, tokens: Tokens) -> int:
        """To how many places the caption is padded."""
        if not self._trims:
            return self._context
        return min(-(-len(tokens.ids) // _STEP) * _STEP, self._context)

    def padded(
        self, captions: Sequence[Tokens], rows: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Ids and mask, int64 (rows, T), of captions of one length; left over rows are blank."""
        ids = torch.full((rows, max(map(self.length, captions))), self._pad)
        mask = torch.zeros_like(ids)
        mask[len(captions) :, 0] = 1  # attention to nothing at all would be NaN
        for at, caption in enumerate(captions):
            ids[at, : len(caption.ids)] = torch.tensor(caption.ids)
            mask[at, : len(caption.ids)] = 1
        return ids, mask if self._masks else None

    def _tokens(self, ids: list[int]) -> Tokens:
        if len(ids) <= self._context:
            return Tokens(tuple(ids), cut=False)
        kept = ids[: self._context]
        if ids[-1] == self._end:  # there are tokenizers that add none
            kept = [*kept[:-1], self._end]
        return Tokens(tuple(kept), cut=True)


def tokenizer_of(weights: Weights) -> Any:
    """A concrete class by the files that are there: none of them can name code of its own."""
    kind: Any = PreTrainedTokenizerFast
    if weights.architecture is Architecture.CLIP:
        kind = CLIPTokenizer
    elif (weights.folder / "spiece.model").is_file():
        kind = SiglipTokenizer
    try:
        return kind.from_pretrained(weights.folder, local_files_only=True)
    except Exception as broken:  # the tokenizers library raises that and no other
        first_line = (str(broken).strip() or type(broken).__name__).splitlines()[0]
        raise WeightsInvalid(f"weights {weights.folder}: tokenizer: {first_line}") from broken
