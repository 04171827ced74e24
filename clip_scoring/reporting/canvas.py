"""A blank plot in the colours of the report, and its way to PNG."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from clip_scoring.reporting.lettering import FONT
from clip_scoring.reporting.palette import Palette

DOTS_PER_INCH = 200
Inches = float


def blank(width: Inches, height: Inches, palette: Palette) -> Figure:
    """A figure of its own, known to nobody else and free of any global state."""
    return Figure(
        figsize=(width, height),
        dpi=DOTS_PER_INCH,
        facecolor=palette.card,
        edgecolor=palette.card,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12),
    )


def plain_axes(figure: Figure, palette: Palette, *, grid: str) -> Axes:
    """Axes without a frame, with faint lines along one axis: `x` or `y`."""
    axes = figure.add_subplot(facecolor=palette.card)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="y" if grid == "y" else "x", color=palette.line, linewidth=0.7)
    axes.tick_params(
        which="both",
        length=0,
        pad=5,
        labelcolor=palette.faint,
        labelsize=8.5,
        labelfontfamily=FONT,
    )
    return axes


def headline(axes: Axes, palette: Palette, title: str, subtitle: str) -> None:
    """The plot's message, in words of ours, above its left edge."""
    axes.set_title(
        title, loc="left", color=palette.text, fontsize=12, fontweight="bold", family=FONT, pad=24
    )
    axes.annotate(
        subtitle,
        (0, 1),
        xytext=(0, 9),
        xycoords="axes fraction",
        textcoords="offset points",
        color=palette.faint,
        fontsize=9,
        family=FONT,
    )


def name_axes(axes: Axes, palette: Palette, across: str, up: str) -> None:
    """The labels of the axes, with units."""
    axes.set_xlabel(across, color=palette.faint, fontsize=9, family=FONT, labelpad=6)
    axes.set_ylabel(up, color=palette.faint, fontsize=9, family=FONT, labelpad=6)


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    written = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(written, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return written.getvalue()
