"""Contact sheets: pictures of pairs in a grid, each with its similarity and its caption."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import NDArray
from PIL import Image

from clip_scoring import display
from clip_scoring.reporting.canvas import Inches, blank, png
from clip_scoring.reporting.figures import ReportPair
from clip_scoring.reporting.lettering import FONT, drawable
from clip_scoring.reporting.palette import Palette

MOST_ON_SHEET = 60
_COLUMNS = 6
_SIDE: Inches = 1.5
_ACROSS: Inches = 1.68
_DOWN: Inches = 2.52
_MARGIN: Inches = 0.2
_HEAD: Inches = 0.62
_LONGEST_SIDE = 2048
"""Pixels; a small picture has fewer, and a larger one is not decoded."""
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def contact_sheet(title: str, pairs: Sequence[ReportPair], palette: Palette) -> bytes | None:
    """The first 60 pairs as PNG, None without any."""
    shown = pairs[:MOST_ON_SHEET]
    if not shown:
        return None
    columns = min(_COLUMNS, max(len(shown), 3))
    rows = -(-len(shown) // columns)
    width = 2 * _MARGIN + columns * _ACROSS - (_ACROSS - _SIDE)
    height = _HEAD + rows * _DOWN + _MARGIN / 2
    axes = _paper(width, height, palette)
    axes.text(_MARGIN, 0.4, title, fontsize=13, fontweight="bold", color=palette.text, family=FONT)
    for place, pair in enumerate(shown):
        row, column = divmod(place, columns)
        _paste(axes, pair, palette, left=_MARGIN + column * _ACROSS, top=_HEAD + row * _DOWN)
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("axes without a figure cannot be drawn")
    return png(figure)


def decoded(picture: bytes | None) -> NDArray[np.uint8] | None:
    """Pixels of a small JPEG, shape (height, width, 3), RGB; None where there is none to read."""
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture), formats=["JPEG"]) as opened:
            if max(opened.size) > _LONGEST_SIDE:
                return None
            return np.asarray(opened.convert("RGB"))
    except _UNREADABLE:
        return None


def _paper(width: Inches, height: Inches, palette: Palette) -> Axes:
    """Axes that cover a figure, measured in inches from its upper left corner."""
    figure = blank(width, height, palette)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.autoscale(enable=False)
    return axes


def _paste(axes: Axes, pair: ReportPair, palette: Palette, *, left: Inches, top: Inches) -> None:
    axes.add_patch(Rectangle((left, top), _SIDE, _SIDE, color=palette.back, linewidth=0))
    pixels = decoded(pair.picture)
    if pixels is None:
        axes.text(
            left + _SIDE / 2, top + _SIDE / 2, "no picture", ha="center", va="center",
            color=palette.faint, fontsize=8, family=FONT,
        )  # fmt: skip
    else:
        _hang(axes, pixels, left=left, top=top)
    cell = TransformedBbox(
        Bbox([[left, top], [left + _ACROSS - 0.05, top + _DOWN]]), axes.transData
    )
    axes.text(
        left, top + _SIDE + 0.2, display.similarity(pair.similarity), fontsize=9.5,
        fontweight="bold", color=palette.text, family=FONT,
    )  # fmt: skip
    axes.text(
        left, top + _SIDE + 0.28, _wrapped(pair.caption), fontsize=7, color=palette.faint,
        family=FONT, va="top", linespacing=1.25, parse_math=False, clip_on=True, clip_box=cell,
    )  # fmt: skip


def _hang(axes: Axes, pixels: NDArray[np.uint8], *, left: Inches, top: Inches) -> None:
    """As large as fits into the square, in its middle."""
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    right, down = left + (_SIDE - width * scale) / 2, top + (_SIDE - height * scale) / 2
    axes.imshow(
        pixels, extent=(right, right + width * scale, down + height * scale, down),
        interpolation="lanczos", aspect="auto", zorder=2,
    )  # fmt: skip


def _wrapped(caption: str) -> str:
    line = drawable(display.shortened(caption))
    return "\n".join(textwrap.wrap(line, 27, max_lines=4, placeholder=" …"))
