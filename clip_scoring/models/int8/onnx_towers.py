"""The towers of a `CLIPModel` in eight-bit integers, for CPUs; exported once and kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from clip_scoring.errors import SettingsInvalid, WeightsInvalid
from clip_scoring.models.int8.cache import publish_export, read_export
from clip_scoring.models.int8.graph import caption_graph, extra, image_graph
from clip_scoring.models.pooled import ARGMAX_POOLING_EOS, pooled_at

log = logging.getLogger(__name__)

_FORMAT = 1
"""Counts changes of the graphs that change a similarity or a file."""
_IMAGES, _CAPTIONS = "images.onnx", "captions.onnx"
_LEAST_COSINE = 0.99
_IMAGE_DEVICE_BATCH_SIZE, _CAPTION_DEVICE_BATCH_SIZE = 8, 64
"""Quickest so; no size changes a bit, and captions are grouped by their own lengths."""
_PROBES = 4
_PROBE_LENGTH = 16


class Int8Towers:
    """Two encoders in int8; each row of a result depends on its own row of the input only.

    To the bit, whatever the size of the batch, its neighbours and its padding are.
    """

    image_device_batch_size = _IMAGE_DEVICE_BATCH_SIZE
    caption_device_batch_size = _CAPTION_DEVICE_BATCH_SIZE
    lengths_apart = False

    def __init__(self, images: Any, captions: Any, *, end: int) -> None:
        """ONNX Runtime sessions of both graphs, and the `eos_token_id` of the text config."""
        self._images, self._captions, self._end = images, captions, end

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels, float32 (B, 3, H, W), to projected embeddings, float32 (B, D)."""
        calls = torch.split(pixels, _IMAGE_DEVICE_BATCH_SIZE)
        return torch.cat([_run(self._images, call) for call in calls])

    def encode_captions(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Token ids and mask, int64 (B, T), to projected embeddings, float32 (B, D).

        Each caption ends where it is pooled: attention is causal, so nothing after it counts.
        """
        ends = pooled_at(ids, self._end)
        if mask is not None and not mask.gather(1, ends[:, None]).all():
            raise WeightsInvalid("captions are pooled at padding: dtype int8 cannot do that")
        encoded_rows: dict[int, torch.Tensor] = {}
        for end in sorted(set(ends.tolist())):
            places = (ends == end).nonzero().flatten()
            encoded = _run(self._captions, ids[places, : end + 1])
            encoded_rows.update(zip(places.tolist(), encoded, strict=True))
        return torch.stack([encoded_rows[place] for place in range(len(ids))])


def open_int8(model: Any, *, cache: Path, name: str) -> Int8Towers:
    """The towers of `model` (a `CLIPModel`, float32, on the CPU) in int8, from `cache` if there.

    `name` is the SHA-256 of the weights. Raises SettingsInvalid where the extra `int8` is not
    installed, the model is no CLIP or the cache cannot be written, WeightsInvalid where int8
    would spoil the weights.
    """
    if (kind := model.config.model_type) != "clip":
        raise SettingsInvalid(f"dtype int8 takes weights of model_type 'clip', these are {kind!r}")
    runtime = extra("onnxruntime")
    folder = cache / _folder_name(name, runtime)
    if (files := read_export(folder, {_IMAGES, _CAPTIONS})) is not None:
        log.info("int8 towers: read from %s", folder)
        return _towers(runtime, model, files)
    started = time.monotonic()
    log.info("int8 towers: exporting to %s", folder)
    files = {_IMAGES: image_graph(model), _CAPTIONS: caption_graph(model)}
    towers = _towers(runtime, model, files)
    _check(towers, model)
    publish_export(files, folder)
    log.info("int8 towers: exported in %.1f s to %s", time.monotonic() - started, folder)
    return towers


def _folder_name(name: str, runtime: Any) -> str:
    modules = (torch, transformers, runtime)
    versions = [f"{module.__name__}{module.__version__}" for module in modules]
    return "-".join(["int8", name, *versions, str(_FORMAT)])


def _towers(runtime: Any, model: Any, files: Mapping[str, bytes]) -> Int8Towers:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # in the thread that calls; calls run side by side
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    images, captions = (
        runtime.InferenceSession(files[name], options, providers=["CPUExecutionProvider"])
        for name in (_IMAGES, _CAPTIONS)
    )
    return Int8Towers(images, captions, end=model.config.text_config.eos_token_id)


def _run(session: Any, rows: torch.Tensor) -> torch.Tensor:
    (embeddings,) = session.run(["output"], {"input": rows.contiguous().numpy()})
    return torch.from_numpy(embeddings)


def _check(towers: Int8Towers, model: Any) -> None:
    """Compare with float32 on random input; raises WeightsInvalid where a direction is lost."""
    pixels, ids = _probes(model.config)
    seen = model.get_image_features(pixel_values=pixels).pooler_output
    read = model.get_text_features(input_ids=ids).pooler_output
    for tower, exact, rounded in (
        ("image", seen, towers.encode_images(pixels)),
        ("text", read, towers.encode_captions(ids, None)),
    ):
        least = torch.cosine_similarity(exact, rounded).min().item()
        if not least >= _LEAST_COSINE:  # NaN as well
            raise WeightsInvalid(
                f"weights of the {tower} tower do not survive int8: cosine {least:.4f}"
            )


def _probes(config: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pixels and captions, the same at every call, without the process's generator."""
    random = torch.Generator().manual_seed(_FORMAT)
    text, vision = config.text_config, config.vision_config
    shape = (_PROBES, vision.num_channels, vision.image_size, vision.image_size)
    by_argmax = text.eos_token_id == ARGMAX_POOLING_EOS
    end = text.vocab_size - 1 if by_argmax else text.eos_token_id
    length = min(_PROBE_LENGTH, text.max_position_embeddings)
    ids = torch.randint(text.vocab_size - 1, (_PROBES, length), generator=random)
    ids[ids == end] = text.vocab_size - 1
    ids[:, -1] = end
    return torch.randn(shape, generator=random), ids
