"""A folder of weights is checked and described without running or loading any of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from clip_scoring.errors import WeightsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.models import weights as weights_module
from clip_scoring.models.weights import open_weights

TINY = Path(weights_module.__file__).parent / "tiny"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
PREPROCESSOR = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
    "image_mean": MEAN,
    "image_std": STD,
}
Change = Callable[..., Path]


def sha(data: bytes) -> str:
    return sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that weights need; the tensors are never opened."""
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "model.safetensors").write_bytes(b"tensors")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return tmp_path


@pytest.fixture
def change(folder: Path) -> Change:
    """Writes the preprocessor with other values; None takes one away."""

    def written(**values: object) -> Path:
        tree = {k: v for k, v in {**PREPROCESSOR, **values}.items() if v is not None}
        (folder / "preprocessor_config.json").write_text(json.dumps(tree))
        return folder

    return written


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsInvalid) as raised:
        open_weights(str(folder))
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert str(folder) in text
    return text


def test_the_embedded_weights_are_opened_by_their_name() -> None:
    assert open_weights("tiny").folder == TINY


def test_the_embedded_weights_stretch_to_64_pixels_without_a_crop() -> None:
    assert open_weights("tiny").geometry == Geometry(Fit.STRETCH, 64, 64, 3, None)


def test_the_embedded_weights_map_pixels_to_minus_one_to_one() -> None:
    tiny = open_weights("tiny")
    assert (tiny.mean, tiny.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert tiny.rescale == pytest.approx(1 / 255, abs=1e-18)


def test_opening_weights_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from clip_scoring.models.weights import open_weights\n"
        "open_weights('tiny')\n"
        "print([each for each in ('torch', 'transformers', 'safetensors') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_preprocessor_of_the_first_clip_scales_the_shorter_edge_and_crops(
    folder: Path,
) -> None:
    assert open_weights(str(folder)).geometry == Geometry(
        Fit.SHORTEST_EDGE, 224, 224, 3, (224, 224)
    )


def test_sizes_may_be_plain_numbers(change: Change) -> None:
    assert open_weights(str(change(size=256, crop_size=224))).geometry == Geometry(
        Fit.SHORTEST_EDGE, 256, 256, 3, (224, 224)
    )


def test_pixels_of_another_size_than_the_tower_takes_are_refused(change: Change) -> None:
    folder = change(size=336, crop_size=336)
    with pytest.raises(WeightsInvalid) as raised:
        open_weights(str(folder))
    assert str(raised.value) == (
        f"weights {folder}: the preprocessor makes 336x336 pixels, the image tower takes 224x224"
    )


def test_another_kernel_than_bicubic_is_in_geometry_and_fingerprint(change: Change) -> None:
    found = open_weights(str(change(resample=2)))
    assert found.geometry.resample == 2
    assert found.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT32).resize_kernel == "bilinear"


def test_a_processor_config_alone_gives_the_same_weights(folder: Path) -> None:
    before = open_weights(str(folder))
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": PREPROCESSOR}))
    assert open_weights(str(folder)) == before


def test_mean_and_std_are_per_channel_in_the_order_of_the_file(folder: Path) -> None:
    found = open_weights(str(folder))
    assert (found.mean, found.std) == (tuple(MEAN), tuple(STD))


def test_the_digest_of_the_weights_covers_config_and_tensors_by_name(folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(b"more")
    config = sha(b'{"model_type": "clip"}')
    lines = (
        f"config.json {config}\na.safetensors {sha(b'more')}\nmodel.safetensors {sha(b'tensors')}\n"
    )
    assert open_weights(str(folder)).weights_sha256 == sha(lines.encode())


def test_the_digest_of_the_tokenizer_covers_each_of_its_files_by_name(folder: Path) -> None:
    (folder / "merges.txt").write_text("a b")
    lines = f"tokenizer.json {sha(b'{}')}\nmerges.txt {sha(b'a b')}\n"
    assert open_weights(str(folder)).tokenizer_sha256 == sha(lines.encode())


def test_the_fingerprint_carries_the_digests_and_how_similarities_are_made(folder: Path) -> None:
    found = open_weights(str(folder))
    assert found.fingerprint(tier=Tier.EXACT, dtype=Dtype.FLOAT16).parts() == {
        "weights_sha256": found.weights_sha256,
        "tokenizer_sha256": found.tokenizer_sha256,
        "preprocessor_sha256": found.preprocessor_sha256,
        "revision": found.weights_sha256[:12],
        "tier": "exact",
        "resize_kernel": "bicubic",
        "dtype": "float16",
    }


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("model.safetensors", "other", "weights_sha256"),
        ("config.json", '{"model_type": "clip", "x": 1}', "weights_sha256"),
        ("tokenizer.json", '{"x": 1}', "tokenizer_sha256"),
        ("preprocessor_config.json", json.dumps({**PREPROCESSOR, "x": 1}), "preprocessor_sha256"),
    ],
)
def test_a_changed_file_changes_its_digest_alone(
    folder: Path, name: str, text: str, changed: str
) -> None:
    before = open_weights(str(folder))
    (folder / name).write_text(text)
    after = open_weights(str(folder))
    digests = ("weights_sha256", "tokenizer_sha256", "preprocessor_sha256")
    assert [each for each in digests if getattr(before, each) != getattr(after, each)] == [changed]


def test_the_spacing_of_the_preprocessor_file_changes_nothing(folder: Path) -> None:
    before = open_weights(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=4))
    assert open_weights(str(folder)) == before


def test_files_that_scoring_does_not_read_change_nothing(folder: Path) -> None:
    before = open_weights(str(folder))
    (folder / "README.md").write_text("words")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert open_weights(str(folder)) == before


def test_a_copy_of_the_embedded_weights_has_their_fingerprint(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "copy")
    settings = {"tier": Tier.EXACT, "dtype": Dtype.FLOAT32}
    assert open_weights(str(tmp_path / "copy")).fingerprint(**settings) == (  # type: ignore[arg-type]
        open_weights("tiny").fingerprint(**settings)  # type: ignore[arg-type]
    )


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"weights {tmp_path / 'none'}: no such folder"


def test_a_file_in_place_of_the_folder_is_refused(folder: Path) -> None:
    path = folder / "config.json"
    assert refusal(path) == f"weights {path}: no such folder"


def test_an_empty_folder_lacks_its_config(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"weights: {tmp_path / 'config.json'}: No such file or directory"


@pytest.mark.parametrize("name", ["model.bin", "pytorch_model.bin"])
def test_tensors_in_another_format_than_safetensors_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    assert refusal(folder) == f"weights {folder}: no *.safetensors file in the folder"


def test_a_folder_without_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text("{}")
    assert refusal(folder) == f"weights {folder}: no tokenizer.json or vocab.json in the folder"


def test_weights_that_ask_to_run_code_are_refused(folder: Path) -> None:
    (folder / "config.json").write_text(
        '{"model_type": "clip", "auto_map": {"AutoModel": "evil.Model"}}'
    )
    assert refusal(folder) == f"weights {folder}: config.json asks to run code (auto_map)"


@pytest.mark.parametrize(
    ("config", "shown"),
    [('{"model_type": "blip"}', "'blip'"), ("{}", "None"),
     ('{"model_type": "a\\nb"}', r"'a\nb'"),
     ('{"model_type": ["clip"]}', "['clip']")],
)  # fmt: skip
def test_another_architecture_is_refused(folder: Path, config: str, shown: str) -> None:
    (folder / "config.json").write_text(config)
    assert refusal(folder) == f"weights {folder}: model_type {shown}, need one of clip, siglip"


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"<html>", b"{'a': 1}"])
def test_a_file_that_is_no_json_is_named(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    assert refusal(folder) == f"weights: {folder / name}: not valid JSON"


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("data", ["[]", "null", "1", '"clip"'])
def test_json_that_is_no_object_is_named(folder: Path, name: str, data: str) -> None:
    (folder / name).write_text(data)
    assert refusal(folder) == f"weights: {folder / name}: not a JSON object"


def test_a_folder_without_any_preprocessor_is_refused(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    assert "processor_config.json: No such file or directory" in refusal(folder)


def test_a_processor_config_without_image_processor_is_refused(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text("{}")
    assert refusal(folder) == f"weights: {folder}: no preprocessor_config.json"


@pytest.mark.parametrize(
    "values",
    [
        {"resample": 6},
        {"resample": -1},
        {"resample": "bicubic"},
        {"resample": [3]},
        {"do_resize": False},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_center_crop": False},
        {"size": {"longest_edge": 224}},
        {"size": {"height": 224}},
        {"size": "224"},
        {"size": {"shortest_edge": "224"}},
        {"size": {"shortest_edge": 0}},
        {"size": {"height": -1, "width": 224}},
        {"crop_size": {"height": 224}},
        {"crop_size": [224, 224]},
        {"crop_size": 0},
        {"image_mean": None},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": 0.5},
        {"image_mean": ["a", "b", "c"]},
        {"image_std": [None, 1, 1]},
        {"image_std": [0, 1, 1]},
        {"image_std": [0.5, 0.5, 0.5, 0.5]},
        {"rescale_factor": "1/255"},
        {"rescale_factor": [1]},
    ],
    ids=str,
)
def test_a_preprocessor_that_cannot_be_followed_is_refused(
    change: Change, values: dict[str, object]
) -> None:
    refusal(change(**values))
