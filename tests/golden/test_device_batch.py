"""A similarity has the same bits however its pair is batched, on whatever processor this is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.random_weights import write_weights
from clip_scoring import Record, Scorer
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.images.decode import decode
from clip_scoring.models.clip import ClipScorer
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.devices import cpu_flags
from clip_scoring.models.resize import TorchResize
from clip_scoring.models.towers import TorchTowers, load_model
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.models.zero_shot import ZeroShot
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Outcome, Score
from tests.golden.test_parity import images, png

BATCH_SIZES = (1, 3, 4, 8, 64, 512)
THREADS = (1, 2, 3, 8)
PAIRS = 9
WORDS = ("red", "circle", "blue", "square", "left", "of", "star", "on", "a", "wall")
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
         "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}  # fmt: skip
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2"}  # fmt: skip
WIDEST: Mapping[str, str] = {}
"""Nothing is held back: AVX-512 and AMX where the machine has them."""
INSTRUCTION_SETS = {"plain": PLAIN, "AVX2": AVX2, "the widest": WIDEST}
Calls = set[tuple[str, tuple[int, ...]]]


def recorded(encode: Callable[..., torch.Tensor], name: str, calls: Calls) -> Any:
    """The same method of towers, noting the shape of every call."""

    def noting(towers: TorchTowers, rows: torch.Tensor, *others: object) -> torch.Tensor:
        calls.add((name, tuple(rows.shape)))
        return encode(towers, rows, *others)

    return noting


class RecordingTowers(TorchTowers):
    """Towers that note the shape of every call."""

    calls: ClassVar[Calls] = set()
    encode_images = recorded(TorchTowers.encode_images, "images", calls)
    encode_captions = recorded(TorchTowers.encode_captions, "captions", calls)


def caption(seed: int) -> str:
    """Of 1 to 12 words, so that several lengths of padding occur."""
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, rng.integers(1, 13)))


def pairs(weights: Weights, tier: Tier) -> list[tuple[DecodedImage, str]]:
    resize = None if tier is Tier.EXACT else TorchResize()
    bodies = [png(image) for image in images(PAIRS)]
    return [
        (DecodedImage(decode(body, weights.geometry, resize), body), caption(seed))
        for seed, body in enumerate(bodies)
    ]


def bits(outcomes: Sequence[Outcome]) -> list[str]:
    return [np.float32(each.similarity).tobytes().hex() for each in outcomes
            if isinstance(each, Score)]  # fmt: skip


def batched(scorer: ClipScorer, given: Sequence[tuple[DecodedImage, str]], size: int) -> list[str]:
    scored: list[str] = []
    for at in range(0, len(given), size):
        pictures, captions = zip(*given[at : at + size], strict=True)
        scored += bits(scorer.score(pictures, captions))
    return scored


def in_every_way(
    weights: Weights, tier: Tier, dtype: Dtype
) -> Iterator[tuple[str, list[str], Calls]]:
    """What it was, bits in the order of the pairs, and the shapes of the calls."""
    given = pairs(weights, tier)
    fingerprint = weights.fingerprint(tier=tier, dtype=dtype)
    model = load_model(weights, dtype=getattr(torch, dtype), device="cpu")
    for size in BATCH_SIZES:
        for step in (1, -1):
            RecordingTowers.calls.clear()
            towers = RecordingTowers(model)
            scorer = ClipScorer(weights, fingerprint, towers, ComputeOptions())
            found = batched(scorer, given[::step], size)[::step]
            yield f"{size}, order {step}", found, set(towers.calls)
    for threads in THREADS:
        RecordingTowers.calls.clear()
        scorer = ClipScorer(
            weights, fingerprint, RecordingTowers(model), ComputeOptions(threads=threads)
        )
        yield f"{threads} threads", batched(scorer, given, PAIRS), set(RecordingTowers.calls)


def judge(middling: str, instructions: str) -> None:
    """Runs in a process of its own, under the instruction set of its environment."""
    cases = [("tiny", Tier.FAST, Dtype.FLOAT32)] if instructions == "the widest" else []
    cases += [(middling, Tier.EXACT, dtype) for dtype in dtypes(instructions)]
    judged = {
        f"{folder}, {tier}, {dtype}": [
            (way, found, sorted(calls))
            for way, found, calls in in_every_way(open_weights(folder), tier, dtype)
        ]
        for folder, tier, dtype in cases
    }
    json.dump(judged, sys.stdout)


@pytest.fixture(scope="module")
def middling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded random weights whose products are large enough for the blocked kernels."""
    folder = write_weights(tmp_path_factory.mktemp("middling"), layers=1)
    (folder / "model.safetensors").unlink()
    config = CLIPConfig.from_pretrained(folder)
    for tower in (config.text_config, config.vision_config):
        tower.hidden_size, tower.intermediate_size = 256, 1024
        tower.num_attention_heads, tower.num_hidden_layers = 4, 2
    config.vision_config.image_size, config.vision_config.patch_size = 64, 16
    config.text_config.vocab_size = 8192
    with torch.random.fork_rng():
        torch.manual_seed(6)
        CLIPModel(config).save_pretrained(folder)
    preprocessor = folder / "preprocessor_config.json"
    edges = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    preprocessor.write_text(json.dumps(json.loads(preprocessor.read_text()) | edges))
    return folder


def instruction_sets() -> list[str]:
    """Those of this processor, so that none is skipped."""
    return [name for name in INSTRUCTION_SETS if name != "AVX2" or "avx2" in cpu_flags()]


def dtypes(instructions: str) -> list[Dtype]:
    """The number formats that this processor computes in itself, under the instruction set."""
    able = instructions == "the widest" and cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}
    return [Dtype.FLOAT32, *([Dtype.BFLOAT16] if able else [])]


@pytest.mark.parametrize("instructions", instruction_sets())
def test_no_batch_size_order_neighbour_or_thread_changes_a_bit_or_the_shape_of_a_call(
    instructions: str, middling: Path
) -> None:
    program = f"from {__name__} import judge; judge({str(middling)!r}, {instructions!r})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | INSTRUCTION_SETS[instructions],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    judged = json.loads(done.stdout)
    assert len(judged) == len(dtypes(instructions)) + (instructions == "the widest")
    for what, ((_, bits_of_first, calls_of_first), *others) in judged.items():
        assert len(set(bits_of_first)) == PAIRS, what
        assert len(others) == 2 * len(BATCH_SIZES) + len(THREADS) - 1, what
        for way, found, calls in others:
            assert calls == calls_of_first, (what, way)
            assert found == bits_of_first, (what, way)


def test_the_batch_size_of_a_scorer_reaches_no_call_of_a_tower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Calls = set()
    for name in ("encode_images", "encode_captions"):
        monkeypatch.setattr(TorchTowers, name, recorded(getattr(TorchTowers, name), name, calls))
    bodies = [png(image) for image in images(5)]
    records = [Record(n, "", caption(n), image=body) for n, body in enumerate(bodies)]
    ways = []
    for size in (1, 4, 64):
        calls.clear()
        with Scorer(batch_size=size) as scorer:
            ways.append((bits(list(scorer.score_pairs(records))), frozenset(calls)))
    assert len(ways[0][0]) == 5
    assert ways == [ways[0]] * 3


def test_a_matrix_has_the_bits_of_each_pair_alone() -> None:
    weights = open_weights("tiny")
    given = pairs(weights, Tier.EXACT)
    fingerprint = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    model = load_model(weights, dtype=torch.float32, device="cpu")
    scorer = ClipScorer(weights, fingerprint, TorchTowers(model), ComputeOptions())
    pictures, captions = zip(*given, strict=True)
    matrix = scorer.similarities(pictures, captions)
    alone = [batched(scorer, [pair], 1)[0] for pair in given]
    assert [each.tobytes().hex() for each in np.diag(matrix)] == alone
    prompts = [[each] for each in captions]
    together = ZeroShot(scorer).probabilities(pictures, prompts)
    for picture, row in zip(pictures, together, strict=True):
        assert np.array_equal(ZeroShot(scorer).probabilities([picture], prompts)[0], row)


def test_embeddings_are_unit_rows_and_none_are_an_empty_matrix() -> None:
    weights = open_weights("tiny")
    fingerprint = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    model = load_model(weights, dtype=torch.float32, device="cpu")
    scorer = ClipScorer(weights, fingerprint, TorchTowers(model), ComputeOptions())
    pictures, captions = zip(*pairs(weights, Tier.EXACT), strict=True)
    for rows in (scorer.embed_images(pictures), scorer.embed_captions(captions)):
        assert (rows.shape, rows.dtype) == ((PAIRS, model.config.projection_dim), np.float32)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=0, atol=1e-6)
    for none in (scorer.embed_images([]), scorer.embed_captions([])):
        assert none.shape == (0, model.config.projection_dim)
