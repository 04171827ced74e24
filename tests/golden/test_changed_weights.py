"""Files of weights that somebody replaces while a worker opens them or scores with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

from clip_scoring.errors import WeightsChanged, WeightsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.models.captions import CaptionTokenizer
from clip_scoring.models.clip import ClipScorer, open_clip
from clip_scoring.models.compute import ComputeOptions
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Score

PIXELS = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded weights."""
    return Path(shutil.copytree(open_weights("tiny").folder, tmp_path / "weights"))


def opened(weights: Weights) -> ClipScorer:
    fingerprint = weights.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32)
    return open_clip(weights, fingerprint, ComputeOptions())


def similarity(scorer: ClipScorer) -> float:
    (outcome,) = scorer.score([DecodedImage(PIXELS, b"one")], ["a red circle"])
    assert isinstance(outcome, Score)
    return outcome.similarity


def overwrite(folder: Path) -> None:
    """Put other tensors into the same file, as `cp` and `rsync --inplace` do."""
    path = folder / "model.safetensors"
    tensors = {name: np.asarray(-tensor) for name, tensor in load_file(path).items()}
    content = save(tensors, metadata={"format": "pt"})
    with path.open("r+b") as stream:
        assert len(content) == path.stat().st_size
        stream.write(content)


def test_tensors_that_are_overwritten_in_place_change_no_similarity(folder: Path) -> None:
    expected = similarity(opened(open_weights("tiny")))
    scorer = opened(open_weights(str(folder)))
    overwrite(folder)
    assert similarity(scorer) == expected
    assert similarity(opened(open_weights(str(folder)))) != expected


def test_tensors_that_are_not_those_that_were_hashed_are_not_loaded(folder: Path) -> None:
    weights = open_weights(str(folder))
    overwrite(folder)
    with pytest.raises(WeightsChanged, match=r"model.safetensors was changed while"):
        opened(weights)


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("{}")])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_any_other_file_that_changed_is_noticed_behind_loading(
    folder: Path, name: str, change: Callable[[Path], object]
) -> None:
    weights = open_weights(str(folder))
    weights.require_unchanged()
    change(folder / name)
    with pytest.raises(WeightsChanged, match=f"{name} was changed"):
        weights.require_unchanged()


def test_tensors_in_several_files_are_found_by_their_index(folder: Path) -> None:
    expected = similarity(opened(open_weights("tiny")))
    whole = folder / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    parts = {f"part-{n}.safetensors": dict(list(tensors.items())[n::2]) for n in range(2)}
    for name, part in parts.items():
        save_file(part, folder / name, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    listed = {tensor: name for name, part in parts.items() for tensor in part}
    index.write_text(json.dumps({"weight_map": listed}))
    assert similarity(opened(open_weights(str(folder)))) == expected
    for wrong in ({}, {"weight_map": {}}, {"weight_map": {"a": "../elsewhere.safetensors"}}):
        index.write_text(json.dumps(wrong))
        with pytest.raises(WeightsInvalid, match="names no files, or files that are not there"):
            opened(open_weights(str(folder)))
    index.unlink()
    with pytest.raises(WeightsInvalid, match=r"model.safetensors.index.json: No such file"):
        opened(open_weights(str(folder)))


def test_added_tokens_are_in_the_digest_of_the_tokenizer_which_reads_them(folder: Path) -> None:
    before = open_weights(str(folder))
    (folder / "tokenizer.json").unlink()  # what is written there counts instead of the other files
    (folder / "added_tokens.json").write_text('{"red circle": 753}')
    after = open_weights(str(folder))
    assert after.tokenizer_sha256 != before.tokenizer_sha256
    assert after.weights_sha256 == before.weights_sha256
    with pytest.raises(WeightsInvalid, match="the tokenizer gives ids up to 753"):
        CaptionTokenizer(after)
