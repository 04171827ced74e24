"""Antialiased resizing by torch, several times as fast as Pillow's."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate
from torch.utils.dlpack import from_dlpack

_BILINEAR, _BICUBIC = 2, 3
_MODES = {_BILINEAR: ("bilinear", 1), _BICUBIC: ("bicubic", 2)}
"""By Pillow's number of the kernel: torch's name, and how many pixels it reaches to each side."""
_OFF_BY = 1 / 256
"""How far, in pixels of the result, a cut may move it: similarities change by less than 1e-5."""
_WORTH_COPYING = 0.7
"""Rows are cut off for nothing; to cut columns copies the rest, and pays below this share."""


class TorchResize:
    """Resizes as Pillow does, within two levels of each pixel.

    It reads only what the window needs, as far as the kernel's grid allows to cut the rest off.
    """

    kernels = frozenset(_MODES)

    def __call__(
        self,
        image: Image.Image,
        *,
        extent: tuple[float, float],
        size: tuple[int, int],
        window: tuple[int, int, int, int],
        kernel: int,
    ) -> NDArray[np.uint8]:
        """An RGB image brought to `size` (height, width); of that the window, uint8 (H, W, 3).

        `extent` (height, width) is how much of the image the picture fills, `window` is (top,
        left, bottom, right) and lies inside of `size`.
        """
        # No .contiguous(): on the channels-last view torch takes a path three times as fast.
        pixels = _memory(image).permute(2, 0, 1)
        resized = resized_window(pixels, extent=extent, size=size, window=window, kernel=kernel)
        return np.ascontiguousarray(resized[:3].permute(1, 2, 0).numpy())


def resized_window(
    pixels: torch.Tensor,
    *,
    extent: tuple[float, float],
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    kernel: int,
    dtype: torch.dtype = torch.uint8,
) -> torch.Tensor:
    """Pixels (C, H, W) brought to `size` (height, width), computed in `dtype`; of that the window.

    `extent` and `window` are as above. On a GPU torch resizes no uint8. Results of float32 are not
    rounded, and the bicubic kernel leaves the range of the pixels.
    """
    mode, reach = _MODES[kernel]
    (height, width), (top, left, bottom, right) = size, window
    rows = _cut(pixels.shape[1], (extent[0], height), (top, bottom), reach)
    columns = _cut(pixels.shape[2], (extent[1], width), (left, right), reach)
    if columns.stop - columns.start > _WORTH_COPYING * pixels.shape[2]:
        columns = _Cut(0, pixels.shape[2], columns.factor, 0)
    kept = pixels[:, rows.start : rows.stop, columns.start : columns.stop]
    whole = interpolate(
        kept[None].to(dtype),
        scale_factor=(rows.factor, columns.factor),
        recompute_scale_factor=False,
        mode=mode,
        antialias=True,
    )[0]
    top, left = top - rows.skipped, left - columns.skipped
    bottom, right = bottom - rows.skipped, right - columns.skipped
    return whole[:, top:bottom, left:right]


def use_one_thread() -> None:
    """Keep torch in this process from starting threads of its own."""
    torch.set_num_threads(1)


def _memory(image: Image.Image) -> torch.Tensor:
    """The pixels where Pillow has them, uint8 (H, W, 4); above 16 MB a copy (H, W, 3)."""
    try:
        lent = pa.array(image).flatten()
    except ValueError:  # in several pieces
        return torch.from_numpy(np.array(image))
    return from_dlpack(lent).view(image.height, image.width, -1)


@dataclass(frozen=True, slots=True)
class _Cut:
    """What of one axis is read: [start, stop) of its pixels, resized by `factor`.

    The first pixel of the result is pixel `skipped` of the whole result.
    """

    start: int
    stop: int
    factor: float
    skipped: int


def _cut(length: int, scale: tuple[float, int], wanted: tuple[int, int], reach: int) -> _Cut:
    """The pixels of `length` that `wanted` (start, stop) of the result needs.

    `scale` says how many of them become how many of the result.
    The end may lie anywhere. The beginning has to lie where the grids of both sizes meet, or the
    result would be moved by a part of a pixel.
    """
    extent, target = scale
    step, factor = extent / target, (target + 2**-20) / extent  # the excess: never one too few
    around = reach * max(step, 1.0)
    stop = min(length, ceil((wanted[1] - 0.5) * step + around) + 1)
    skippable = np.arange(max(0, int(wanted[0] - (around + 1) / step)) + 1)
    starts = skippable * step
    meets = np.abs(starts - np.rint(starts)) <= _OFF_BY * max(step, 1.0)
    skipped = int(skippable[meets][-1])
    start = round(skipped * step)
    if int((stop - start) * factor) == stop - start:  # torch would leave this axis as it is
        return _Cut(0, length, factor, 0)
    return _Cut(start, stop, factor, skipped)
