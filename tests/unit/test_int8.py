"""The int8 towers stand for the float32 towers, row by row, and are exported once."""

from __future__ import annotations

import errno
import logging
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from clip_scoring.errors import SettingsInvalid, WeightsInvalid
from clip_scoring.images.decode import decode
from clip_scoring.models.calls import SideBySide
from clip_scoring.models.int8 import graph as int8_graph
from clip_scoring.models.int8 import onnx_towers as int8
from clip_scoring.models.int8.onnx_towers import Int8Towers, open_int8
from clip_scoring.models.weights import open_weights
from clip_scoring.sample.drawing import render
from clip_scoring.sample.scene_captions import caption_of
from clip_scoring.sample.scenes import random_scene
from tests.golden.test_parity import png

SMALL = {
    "text_config": {
        "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 20, "eos_token_id": 59,
    },
    "vision_config": {
        "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
    },
    "projection_dim": 24,
}  # fmt: skip
END = 59


def small(**text: object) -> Any:
    """A seeded random model; the arguments change its text config."""
    torch.manual_seed(5)
    config = CLIPConfig(**{**SMALL, "text_config": {**SMALL["text_config"], **text}})  # type: ignore[dict-item]
    return CLIPModel(config).eval()


def pixels(count: int, edge: int = 32) -> torch.Tensor:
    return torch.randn((count, 3, edge, edge), generator=torch.Generator().manual_seed(7))


def captions(*lengths: int, padded: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids that end with END and are padded with it, and their mask."""
    numbers = torch.Generator().manual_seed(8)
    ids = torch.randint(1, END, (len(lengths), padded), generator=numbers)
    mask = torch.arange(padded).expand(ids.shape) < torch.tensor(lengths)[:, None]
    ids[~mask] = END
    ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = END
    return ids, mask.long()


@torch.inference_mode()
def exact(model: Any, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> Any:
    read = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    return model.get_image_features(pixel_values=pixels).pooler_output, read


def table(seen: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """Cosines of all images with all captions."""
    return torch.nn.functional.normalize(seen) @ torch.nn.functional.normalize(read).T


@pytest.fixture(scope="module")
def model() -> Any:
    return small()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def towers(model: Any, cache: Path) -> Int8Towers:
    return open_int8(model, cache=cache, name="small")


@pytest.fixture
def exported(model: Any, towers: Int8Towers, cache: Path, tmp_path: Path) -> Path:
    """A copy of the export, in a cache of its own: the folder."""
    shutil.copytree(cache, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    return folder


def test_the_embedded_weights_keep_their_similarities(tmp_path: Path) -> None:
    weights, rng = open_weights("tiny"), random.Random(3)
    tiny = CLIPModel.from_pretrained(weights.folder).eval()
    scenes = [random_scene(rng) for _ in range(48)]
    pictures = [decode(png(render(each, rng, longer_side=96)), weights.geometry) for each in scenes]
    seen = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    text = CLIPTokenizer.from_pretrained(weights.folder)(
        [caption_of(each, rng) for each in scenes], padding=True, return_tensors="pt"
    )
    ids, mask = text["input_ids"], text["attention_mask"]
    towers = open_int8(tiny, cache=tmp_path, name=weights.weights_sha256)
    ours = table(towers.encode_images(seen), towers.encode_captions(ids, mask))
    off = (ours - table(*exact(tiny, seen, ids, mask))).abs()
    assert off.max() < 2e-2
    assert off.square().mean().sqrt() < 4e-3
    assert off.diagonal().max() < 1e-2


@pytest.mark.parametrize(
    "text",
    [
        {},
        {"hidden_act": "gelu"},
        {"eos_token_id": 2},
        {"num_hidden_layers": 1},
        {"hidden_size": 40, "num_attention_heads": 5, "intermediate_size": 72},
    ],
    ids=str,
)
def test_random_weights_keep_their_similarities(text: dict[str, object], tmp_path: Path) -> None:
    model, (ids, mask) = small(**text), captions(3, 20, 7, 12, 7)
    towers = open_int8(model, cache=tmp_path, name="any")
    seen, read = exact(model, pixels(5), ids, mask)
    ours, theirs = towers.encode_images(pixels(5)), towers.encode_captions(ids, mask)
    assert torch.cosine_similarity(ours, seen).min() > 0.998
    assert torch.cosine_similarity(theirs, read).min() > 0.998
    assert (table(ours, theirs) - table(seen, read)).abs().max() < 1.5e-2
    assert torch.allclose(ours.norm(dim=1), seen.norm(dim=1), rtol=0.03)


def test_an_image_has_the_same_bits_alone_and_among_others(towers: Int8Towers) -> None:
    batch = pixels(19)
    alone = torch.cat([towers.encode_images(each[None]) for each in batch])
    assert torch.equal(towers.encode_images(batch), alone)


def test_neighbours_of_another_magnitude_change_no_bit(towers: Int8Towers) -> None:
    batch = pixels(4)
    loud = torch.cat([batch[:1], batch[1:] * 100])
    assert torch.equal(towers.encode_images(loud)[0], towers.encode_images(batch)[0])


def test_a_caption_has_the_same_bits_alone_and_among_others(towers: Int8Towers) -> None:
    ids, mask = captions(4, 20, 4, 9, 13, 4, 9, 20, 2)
    alone = [towers.encode_captions(ids[at : at + 1], mask[at : at + 1]) for at in range(len(ids))]
    assert torch.equal(towers.encode_captions(ids, mask), torch.cat(alone))


def test_padding_changes_no_bit_of_a_caption(towers: Int8Towers) -> None:
    ids, mask = captions(4, 9, 7)
    assert torch.equal(
        towers.encode_captions(ids, mask), towers.encode_captions(ids[:, :9], mask[:, :9])
    )


def test_a_caption_is_pooled_at_its_first_end(towers: Int8Towers) -> None:
    ids, mask = captions(15, 6)
    ids[0, 5] = END
    cut = towers.encode_captions(ids[:1, :6], mask[:1, :6])
    assert torch.equal(towers.encode_captions(ids, mask)[:1], cut)


def test_pooling_at_padding_is_refused(tmp_path: Path) -> None:
    towers = open_int8(small(eos_token_id=2), cache=tmp_path, name="old")
    ids, mask = captions(5, padded=8)
    ids[0, 4] = 58
    with pytest.raises(WeightsInvalid, match="pooled at padding"):
        towers.encode_captions(ids, mask)


def test_calls_side_by_side_change_no_bit(towers: Int8Towers) -> None:
    ids, mask = captions(*range(2, 20))
    alone = towers.encode_images(pixels(18)), towers.encode_captions(ids, mask)
    calls = SideBySide(3)
    for seen in calls.run(towers.encode_images, [pixels(18)] * 6):
        assert torch.equal(seen, alone[0])
    for read in calls.run(lambda rows: towers.encode_captions(rows, mask), [ids] * 6):
        assert torch.equal(read, alone[1])


def test_sums_of_the_largest_products_do_not_overflow() -> None:
    graph, ones = int8_graph._Graph(), torch.ones(8, 256)
    names = int8_graph._products(graph, "input", SimpleNamespace(weight=ones))
    session = onnxruntime.InferenceSession(graph.model(names[0], "FLOAT", ["batch", 256]))
    (sums,) = session.run(None, {"input": np.ones((5, 256), np.float32)})
    np.testing.assert_allclose(sums, np.full((5, 8), 256), rtol=1e-5)


def test_a_token_of_zeros_stays_zero() -> None:
    graph = int8_graph._Graph()
    names = int8_graph._products(graph, "input", SimpleNamespace(weight=torch.zeros(8, 32)))
    session = onnxruntime.InferenceSession(graph.model(names[0], "FLOAT", ["batch", 32]))
    assert not session.run(None, {"input": np.zeros((2, 32), np.float32)})[0].any()


EXPORT = """
import sys
from pathlib import Path
from hashlib import sha256
from tests.unit.test_int8 import captions, pixels, small
from clip_scoring.models.int8.onnx_towers import open_int8
model = small()
print("ready", flush=True)
sys.stdin.readline()
towers = open_int8(model, cache=Path(sys.argv[1]), name="small")
bits = [towers.encode_images(pixels(5)), towers.encode_captions(*captions(3, 9, 20))]
print(*(sha256(each.numpy().tobytes()).hexdigest() for each in bits))
"""


def test_two_processes_that_export_at_once_end_with_the_same_bits(
    towers: Int8Towers, tmp_path: Path
) -> None:
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", EXPORT, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for each in crew:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in crew:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate(timeout=240)[0] for each in crew]
    bits = [towers.encode_images(pixels(5)), towers.encode_captions(*captions(3, 9, 20))]
    here = " ".join(sha256(each.numpy().tobytes()).hexdigest() for each in bits)
    assert said == [here + "\n"] * 2
    assert len(list(tmp_path.iterdir())) == 1


def no_export(_: object) -> bytes:
    raise AssertionError("exported again")


def test_a_second_opening_exports_nothing_and_says_so(
    model: Any,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(int8, "image_graph", no_export)
    caplog.set_level(logging.INFO, "clip_scoring")
    open_int8(model, cache=exported.parent, name="small")
    assert caplog.messages == [f"int8 towers: read from {exported}"]


def test_an_export_is_announced_and_its_end_has_seconds_and_path(
    model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "clip_scoring")
    open_int8(model, cache=tmp_path / "new" / "cache", name="small")
    (folder,) = (tmp_path / "new" / "cache").iterdir()
    begun, ended = caplog.messages
    assert begun == f"int8 towers: exporting to {folder}"
    assert ended.startswith("int8 towers: exported in ")
    assert ended.endswith(f" s to {folder}")


def test_the_folder_names_the_weights_and_every_version(exported: Path) -> None:
    for part in ("small", torch.__version__, onnxruntime.__version__, "transformers"):
        assert part in exported.name


def test_other_weights_have_a_folder_of_their_own(model: Any, exported: Path) -> None:
    open_int8(model, cache=exported.parent, name="other")
    assert len(list(exported.parent.iterdir())) == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", ["images.onnx", "captions.onnx", "manifest.json"])
@pytest.mark.parametrize("damage", [cut, flip, remove])
def test_a_damaged_export_is_made_anew(
    model: Any, towers: Int8Towers, exported: Path, name: str, damage: Callable[[Path], None]
) -> None:
    before = {each.name: each.read_bytes() for each in exported.iterdir()}
    damage(exported / name)
    again = open_int8(model, cache=exported.parent, name="small")
    assert {each.name: each.read_bytes() for each in exported.iterdir()} == before
    assert list(exported.parent.iterdir()) == [exported]
    assert torch.equal(again.encode_images(pixels(2)), towers.encode_images(pixels(2)))


def test_a_file_in_place_of_the_export_gives_way(model: Any, exported: Path) -> None:
    shutil.rmtree(exported)
    exported.write_text("")
    open_int8(model, cache=exported.parent, name="small")
    assert (exported / "images.onnx").is_file()


def test_a_full_disk_leaves_nothing_behind(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsInvalid, match="No space left"):
        open_int8(model, cache=tmp_path, name="small")
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_no_folder_is_named(model: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(SettingsInvalid, match="cache"):
        open_int8(model, cache=tmp_path / "cache", name="small")


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_says_what_to_install(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    def imported(name: str) -> ModuleType:
        if name.partition(".")[0] == absent:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return import_module(name)

    monkeypatch.setattr(int8_graph, "import_module", imported)
    with pytest.raises(SettingsInvalid, match=r"pip install 'clip-scoring\[int8\]'"):
        open_int8(model, cache=tmp_path, name="small")


def test_importing_the_module_loads_neither_onnx_nor_its_runtime() -> None:
    module = "clip_scoring.models.int8.onnx_towers"
    code = f"import sys, {module}; print({{'onnx', 'onnxruntime'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def outlying(model: Any) -> None:
    """In each row one weight so large that the others round to nothing, where no token is."""
    for layer in model.text_model.encoder.layers:
        layer.mlp.fc1.weight.data[:, 0] = 1e3
        layer.layer_norm2.weight.data[0] = 0


def undefined(model: Any) -> None:
    model.text_model.final_layer_norm.bias.data[0] = float("nan")


@pytest.mark.parametrize("spoil", [outlying, undefined])
def test_weights_that_int8_would_spoil_are_refused_and_not_kept(
    spoil: Callable[[Any], None], tmp_path: Path
) -> None:
    model = small()
    spoil(model)
    with pytest.raises(WeightsInvalid, match="text tower do not survive int8: cosine"):
        open_int8(model, cache=tmp_path, name="spoilt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_weights_that_are_no_numbers_are_refused(value: str, tmp_path: Path) -> None:
    model = small()
    model.text_projection.weight.data[3, 4] = float(value)
    with pytest.raises(WeightsInvalid, match="NaN or infinity"):
        open_int8(model, cache=tmp_path, name="undefined")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    other = SimpleNamespace(config=SimpleNamespace(model_type="siglip"))
    with pytest.raises(SettingsInvalid, match="these are 'siglip'"):
        open_int8(other, cache=tmp_path, name="other")


def test_blank_captions_beside_a_caption_change_no_bit(towers: Int8Towers) -> None:
    ids, mask = captions(6, padded=8)
    blank = torch.full((3, 8), END)
    first = torch.zeros_like(blank).index_fill(1, torch.tensor([0]), 1)
    both = towers.encode_captions(torch.cat([ids, blank]), torch.cat([mask, first]))
    assert torch.equal(both[:1], towers.encode_captions(ids, mask))
    assert both.isfinite().all()


def test_an_activation_without_int8_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsInvalid, match="hidden_act 'relu' has no int8 form"):
        open_int8(small(hidden_act="relu"), cache=tmp_path, name="relu")


def test_checking_an_export_leaves_the_random_numbers_of_the_process_alone(
    model: Any, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    open_int8(model, cache=tmp_path, name="small")
    assert torch.equal(torch.rand(3), expected)
