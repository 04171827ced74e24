"""A folder of weights in Hugging Face layout: checked, hashed, described; loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from clip_scoring.errors import WeightsChanged, WeightsInvalid
from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.geometry import Fit, Geometry
from clip_scoring.settings.registrations import TINY


class Architecture(StrEnum):
    """Model types in a config; dual encoders whose similarity is a cosine."""

    CLIP = "clip"
    SIGLIP = "siglip"


_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
_TENSORS = ".safetensors"
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_VOCABULARIES = {
    Architecture.CLIP: ("tokenizer.json", "vocab.json"),
    Architecture.SIGLIP: ("tokenizer.json", "spiece.model"),
}
_PREPROCESSOR_DEFAULTS: dict[Architecture, dict[str, Any]] = {
    Architecture.CLIP: {},
    Architecture.SIGLIP: {
        "do_center_crop": False,
        "size": {"height": 224, "width": 224},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
}
"""Defaults of the architecture's image processor where its file is silent."""
_KERNELS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that may be loaded: a model in safetensors, with tokenizer and preprocessor.

    `mean` and `std` are per RGB channel, applied after multiplying the pixels by `rescale`.
    """

    folder: Path
    files: Mapping[str, str] = field(compare=False, repr=False)
    """SHA-256 of all that is read from the folder, by name."""
    architecture: Architecture
    geometry: Geometry
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_sha256: str
    tokenizer_sha256: str
    preprocessor_sha256: str
    revision: str

    def fingerprint(self, *, tier: Tier, dtype: Dtype) -> Fingerprint:
        """The fingerprint of similarities made with these weights in this way."""
        return Fingerprint(
            weights_sha256=self.weights_sha256,
            tokenizer_sha256=self.tokenizer_sha256,
            preprocessor_sha256=self.preprocessor_sha256,
            revision=self.revision,
            tier=tier,
            resize_kernel=_KERNELS[self.geometry.resample],
            dtype=dtype,
        )

    def tensor_files(self) -> list[str]:
        """The names of the files that hold the tensors; raises WeightsInvalid for none."""
        if _SINGLE in self.files:
            return [_SINGLE]
        listed = _read_json(self.folder / _INDEX).get("weight_map")
        names = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
        if not names or not set(names) <= self.files.keys():
            raise WeightsInvalid(
                f"weights {self.folder}: {_INDEX} names no files, or files that are not there"
            )
        return names

    def read(self, name: str) -> bytes:
        """The bytes of a file, which are those that were hashed; raises WeightsChanged."""
        try:
            content = (self.folder / name).read_bytes()
        except OSError as failed:
            raise self._changed(name) from failed
        if sha256(content).hexdigest() != self.files[name]:
            raise self._changed(name)
        return content

    def require_unchanged(self) -> None:
        """Raise WeightsChanged when a file other than the tensors is not what was hashed."""
        for name in self.files:
            if not name.endswith(_TENSORS):
                self.read(name)

    def _changed(self, name: str) -> WeightsChanged:
        return WeightsChanged(
            f"weights {self.folder}: {name} was changed while they were loaded: put new weights "
            "into a folder of their own, or rename a whole folder into place"
        )


def open_weights(location: str, *, revision: str | None = None) -> Weights:
    """Check and hash the folder at `location`, or the embedded weights for `tiny`.

    `revision` is where the folder came from; without one it is named after its content.

    Raises WeightsInvalid with the file that is missing or wrong; runs no code from the folder.
    """
    folder = Path(__file__).with_name(TINY) if location == TINY else Path(location).expanduser()
    if not folder.is_dir():
        raise WeightsInvalid(f"weights {location}: no such folder")
    config = _read_json(folder / "config.json")
    architecture = _architecture(config, location)
    if "auto_map" in config:
        raise WeightsInvalid(f"weights {location}: config.json asks to run code (auto_map)")
    tensors = sorted(folder.glob(f"*{_TENSORS}"))
    if not tensors:
        raise WeightsInvalid(f"weights {location}: no *.safetensors file in the folder")
    tokenizer = _tokenizer_files(folder, _VOCABULARIES[architecture], location)
    preprocessor = _PREPROCESSOR_DEFAULTS[architecture] | _preprocessor(folder)
    geometry = _geometry(preprocessor, folder)
    _require_fit(geometry, config, location)
    model = [path.name for path in (folder / "config.json", *tensors)]
    files = _hashed(folder, [*model, *tokenizer, *_PREPROCESSORS, _INDEX])
    weights_sha256 = _digest(files, model)
    return Weights(
        folder=folder,
        files=files,
        architecture=architecture,
        geometry=geometry,
        rescale=_rescale(preprocessor, folder),
        mean=_channels(preprocessor, "image_mean", folder),
        std=_divisors(preprocessor, folder),
        weights_sha256=weights_sha256,
        tokenizer_sha256=_digest(files, tokenizer),
        preprocessor_sha256=sha256(json.dumps(preprocessor, sort_keys=True).encode()).hexdigest(),
        revision=revision or weights_sha256[:12],
    )


def _architecture(config: dict[str, Any], location: str) -> Architecture:
    try:
        return Architecture(str(config.get("model_type")))
    except ValueError as other:
        known = ", ".join(Architecture)
        raise WeightsInvalid(
            f"weights {location}: model_type {config.get('model_type')!r}, need one of {known}"
        ) from other


def _tokenizer_files(folder: Path, vocabulary: tuple[str, ...], location: str) -> list[str]:
    """Those that are there; raises WeightsInvalid where no file holds the vocabulary."""
    names = [name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    if not set(vocabulary) & {*names}:
        raise WeightsInvalid(f"weights {location}: no {' or '.join(vocabulary)} in the folder")
    return names


def _require_fit(geometry: Geometry, config: dict[str, Any], location: str) -> None:
    """Raise WeightsInvalid unless the image tower takes what the preprocessor makes."""
    edge = (config.get("vision_config") or {}).get("image_size", 224)
    if geometry.shape[:2] != (edge, edge):
        raise WeightsInvalid(
            f"weights {location}: the preprocessor makes {geometry.shape[1]}x{geometry.shape[0]} "
            f"pixels, the image tower takes {edge}x{edge}"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as missing:
        raise WeightsInvalid(f"weights: {path}: {missing.strerror}") from missing
    except ValueError as broken:
        raise WeightsInvalid(f"weights: {path}: not valid JSON") from broken
    if not isinstance(tree, dict):
        raise WeightsInvalid(f"weights: {path}: not a JSON object")
    return tree


def _preprocessor(folder: Path) -> dict[str, Any]:
    """The image processor's settings, in either of the two files that hold them."""
    own, shared = (folder / name for name in _PREPROCESSORS)
    if own.is_file():
        return _read_json(own)
    settings = _read_json(shared).get("image_processor")
    if not isinstance(settings, dict):
        raise WeightsInvalid(f"weights: {folder}: no preprocessor_config.json")
    return settings


def _geometry(preprocessor: dict[str, Any], folder: Path) -> Geometry:
    size = preprocessor.get("size", 224)
    crop = preprocessor.get("crop_size", 224)
    cropped = _pair(crop, folder) if preprocessor.get("do_center_crop", True) else None
    resample = _resample(preprocessor, folder)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if not preprocessor.get(step, True):
            raise WeightsInvalid(f"weights: {folder}: preprocessor without {step} is not supported")
    match size, cropped:
        case {"height": _}, _:
            height, width = _pair(size, folder)
            return Geometry(Fit.STRETCH, height, width, resample, cropped)
        case (int(edge) | {"shortest_edge": int(edge)}, (_, _)) if edge > 0:
            return Geometry(Fit.SHORTEST_EDGE, edge, edge, resample, cropped)
        case _:
            raise WeightsInvalid(f"weights: {folder}: size {size!r} gives images of no fixed size")


def _resample(preprocessor: dict[str, Any], folder: Path) -> int:
    """Pillow's number of the kernel."""
    resample = preprocessor.get("resample", 3)
    if not isinstance(resample, int) or resample not in _KERNELS:
        raise WeightsInvalid(f"weights: {folder}: unknown resampling {resample!r}")
    return resample


def _pair(size: object, folder: Path) -> tuple[int, int]:
    match size:
        case {"height": int(height), "width": int(width)} if height > 0 and width > 0:
            return height, width
        case int(edge) if edge > 0:
            return edge, edge
        case _:
            raise WeightsInvalid(f"weights: {folder}: size {size!r} is not height and width")


def _rescale(preprocessor: dict[str, Any], folder: Path) -> float:
    factor = preprocessor.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float):
        raise WeightsInvalid(f"weights: {folder}: rescale_factor {factor!r} is not a number")
    return float(factor)


def _channels(preprocessor: dict[str, Any], name: str, folder: Path) -> tuple[float, float, float]:
    match preprocessor.get(name):
        case [int() | float() as red, int() | float() as green, int() | float() as blue]:
            return float(red), float(green), float(blue)
        case _:
            raise WeightsInvalid(f"weights: {folder}: {name} is not three numbers")


def _divisors(preprocessor: dict[str, Any], folder: Path) -> tuple[float, float, float]:
    std = _channels(preprocessor, "image_std", folder)
    if min(std) <= 0:
        raise WeightsInvalid(f"weights: {folder}: image_std {list(std)} is not above zero")
    return std


def _hashed(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """SHA-256s of those files that are there."""
    digests = {}
    for name in names:
        if (path := folder / name).is_file():
            with path.open("rb") as stream:
                digests[name] = file_digest(stream, sha256).hexdigest()
    return digests


def _digest(files: Mapping[str, str], names: Sequence[str]) -> str:
    """SHA-256 over the names and SHA-256s of the files, in the given order."""
    whole = sha256()
    for name in names:
        whole.update(f"{name} {files[name]}\n".encode())
    return whole.hexdigest()
