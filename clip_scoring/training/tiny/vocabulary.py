"""A small byte-level BPE in CLIP's format, learned from the words of the captions."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from clip_scoring.sample.scene_captions import OPENINGS, RELATION_WORDS, SIZE_WORDS
from clip_scoring.sample.scenes import Colour, Kind, Pattern

START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 77
OTHER_WORDS = (
    "a an and the of on in with against background plain solid two shapes next to beside at is are "
    "between near it image picture photo shape bright dark light color colour colored coloured "
    "pattern stripes noise grainy scene showing left right top bottom side gray grey pink brown"
)


def caption_words() -> list[str]:
    """Every word our captions use, sorted, and some that other captions may use."""
    phrases: list[str] = [OTHER_WORDS, *OPENINGS, *Colour, *Kind, *Pattern]
    for words in (*RELATION_WORDS.values(), *SIZE_WORDS.values()):
        phrases.extend(words)
    return sorted({word for phrase in phrases for word in phrase.replace("-", " ").split()})


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """The merges, most frequent pair first, until each word is one token."""
    spelled = [(*word[:-1], word[-1] + "</w>") for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in spelled):
        pairs = Counter(pair for parts in spelled for pair in pairwise(parts))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merged(parts, best) for parts in spelled]
    return merges


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Writes the tokenizer's files into `folder`, vocab.json and merges.txt among them."""
    merges = learn_merges(caption_words())
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
    vocab = {token: number for number, token in enumerate([*tokens, START, END])}
    tokenizer = CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=CONTEXT,
        padding_side="right",
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    named = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(named, indent=2) + "\n")
    return tokenizer


def byte_letters() -> list[str]:
    """The 256 printable letters that stand for the bytes in GPT-2's and CLIP's vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


def _merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)
