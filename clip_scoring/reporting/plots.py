"""The plots of a report; each function returns a PNG, or None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator, ScalarFormatter
from numpy.typing import NDArray

from clip_scoring import display
from clip_scoring.quality import Histogram
from clip_scoring.reporting import retrieval
from clip_scoring.reporting.canvas import blank, headline, name_axes, plain_axes, png
from clip_scoring.reporting.distribution import Distribution, bars, described
from clip_scoring.reporting.lettering import FONT, drawable
from clip_scoring.reporting.palette import Palette

_WIDTH, _HEIGHT = 6.4, 3.9
_MOST_POINTS = 2000
_MOST_NAMES = 24
_COUNTS = FuncFormatter(lambda value, _: display.number(round(value)))


def distribution(histogram: Histogram, palette: Palette) -> bytes | None:
    """How many pairs have which similarity, with mean and median marked."""
    known = described(histogram)
    if known is None:
        return None
    drawn = bars(histogram)
    figure = blank(_WIDTH, _HEIGHT, palette)
    axes = plain_axes(figure, palette, grid="y")
    width = drawn[0].stop - drawn[0].start
    axes.bar(
        [bar.start for bar in drawn], [bar.pairs for bar in drawn], width, align="edge",
        color=palette.main, edgecolor=palette.card, linewidth=0.6,
    )  # fmt: skip
    _mark(axes, known, palette)
    margin = max(drawn[-1].stop - drawn[0].start, 0.02) * 0.03 + (len(drawn) == 1) * width * 5
    axes.set_xlim(drawn[0].start - margin, drawn[-1].stop + margin)
    _count_upwards(axes, max(bar.pairs for bar in drawn))
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    headline(axes, palette, f"Similarities of {_counted(known.pairs, 'pair')}", "")
    _legend(axes, palette)
    name_axes(axes, palette, "similarity (cosine)", "pairs")
    return png(figure)


def throughput(points: Sequence[tuple[float, int]], palette: Palette) -> bytes | None:
    """Outcomes that were committed by and by, with the mean rate."""
    if not points:
        return None
    seconds, outcomes = points[-1]
    unit, name = _unit_of_time(seconds)
    kept = [(0.0, 0), *_thinned(points)]
    times, counts = [at / unit for at, _ in kept], [reached for _, reached in kept]
    figure = blank(_WIDTH, _HEIGHT, palette)
    axes = plain_axes(figure, palette, grid="y")
    axes.fill_between(times, counts, color=palette.main, alpha=0.16, linewidth=0)
    axes.plot([0, times[-1]], [0, counts[-1]], color=palette.faint, linewidth=1, linestyle=":")
    axes.plot(times, counts, color=palette.main, linewidth=2)
    axes.plot(times[-1], counts[-1], "o", color=palette.main, markersize=6)
    axes.set_xlim(0, times[-1] * 1.03 or 1)
    _count_upwards(axes, outcomes)
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    rate = f"{display.rate(outcomes / seconds)} outcomes/s on average" if seconds else ""
    title = f"{_counted(outcomes, 'outcome')} in {display.duration(seconds)}"
    headline(axes, palette, title, rate)
    name_axes(axes, palette, f"{name} since the start", "outcomes committed")
    return png(figure)


def rejections(reasons: Mapping[str, int], palette: Palette) -> bytes | None:
    """Rejected pairs by reason, the most frequent on top."""
    ranked = by_frequency(reasons)
    if not ranked:
        return None
    total, most = sum(count for _, count in ranked), ranked[0][1]
    figure = blank(_WIDTH, 1.2 + 0.3 * len(ranked), palette)
    axes = plain_axes(figure, palette, grid="x")
    ticks = range(len(ranked))
    drawn = axes.barh(ticks, [count for _, count in ranked], 0.66, color=palette.bad)
    axes.bar_label(
        drawn, [display.number(count) for _, count in ranked], padding=4,
        color=palette.text, fontsize=9, family=FONT,
    )  # fmt: skip
    axes.set_yticks(
        ticks,
        [drawable(display.shortened(reason, 40)) for reason, _ in ranked],
        parse_math=False,
    )
    axes.tick_params(axis="y", labelcolor=palette.text)
    axes.set_ylim(len(ranked) - 0.4, -0.6)
    axes.set_xlim(0, most * 1.1)
    axes.set_xticks([])
    subtitle = f"for {_counted(len(ranked), 'reason')}"
    headline(axes, palette, f"{_counted(total, 'pair')} rejected", subtitle)
    return png(figure)


def matrix(
    similarities: NDArray[np.float32], names: Sequence[str], palette: Palette
) -> bytes | None:
    """Each image against each caption; what belongs together lies on the diagonal."""
    pairs = len(similarities)
    if not pairs:
        return None
    figure = blank(_WIDTH, 6.05, palette)
    axes = plain_axes(figure, palette, grid="x")
    axes.grid(visible=False)
    low, high = float(similarities.min()), float(similarities.max())
    spread = 0.05 if low == high else 0.0
    shown = axes.imshow(
        similarities, cmap="viridis", vmin=low - spread, vmax=high + spread,
        interpolation="nearest", aspect="equal",
    )  # fmt: skip
    _colour_bar(figure, shown, palette)
    _name_pairs(axes, names, pairs)
    forth, back = (
        retrieval.summary(ranks).recall_at_1
        for ranks in (retrieval.caption_ranks(similarities), retrieval.image_ranks(similarities))
    )
    headline(
        axes, palette, f"{pairs} images × {pairs} captions",
        f"own caption first: {display.percent(forth)} · own image first: {display.percent(back)}",
    )  # fmt: skip
    name_axes(axes, palette, "caption", "image")
    return png(figure)


def by_frequency(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """Reasons that occur, the most frequent first, equal ones by name."""
    counted = [(reason, count) for reason, count in reasons.items() if count]
    return sorted(counted, key=lambda counts: (-counts[1], counts[0]))


def _counted(count: int, what: str) -> str:
    return f"{display.number(count)} {what}{'' if count == 1 else 's'}"


def _count_upwards(axes: Axes, most: int) -> None:
    axes.set_ylim(0, max(most, 1) * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(_COUNTS)


def _mark(axes: Axes, known: Distribution, palette: Palette) -> None:
    """Mean and median; where they coincide, the dashes of one lie on the line of the other."""
    axes.vlines(
        [known.mean, known.median], 0, 1, transform=axes.get_xaxis_transform(),
        color=palette.card, linewidth=4, alpha=0.8,
    )  # fmt: skip
    for value, name, colour, dashes in (
        (known.mean, "mean", palette.bad, "-"),
        (known.median, "median", palette.good, (0, (4, 2))),
    ):
        axes.axvline(
            value, color=colour, linewidth=1.8, linestyle=dashes,
            label=f"{name} {display.similarity(value)}",
        )  # fmt: skip


def _legend(axes: Axes, palette: Palette) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.15,
        ncols=2,
        frameon=False,
        labelcolor=palette.faint,
        handlelength=1.8,
        columnspacing=1.6,
        borderpad=0.25,
        prop={"family": FONT, "size": 9},
    )


def _unit_of_time(seconds: float) -> tuple[float, str]:
    if seconds < 600:
        return 1, "seconds"
    return (60, "minutes") if seconds < 4 * 3600 else (3600, "hours")


def _thinned(points: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """So many that each still has a pixel of its own; always the last."""
    step = -(-len(points) // _MOST_POINTS)
    return [*points[:-1:step], points[-1]]


def _colour_bar(figure: Figure, shown: AxesImage, palette: Palette) -> None:
    bar = figure.colorbar(shown, ax=shown.axes, shrink=0.84, aspect=30, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=palette.faint, labelsize=8.5, labelfontfamily=FONT)
    bar.ax.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    bar.set_label("similarity (cosine)", color=palette.faint, fontsize=9, family=FONT)


def _name_pairs(axes: Axes, names: Sequence[str], pairs: int) -> None:
    """By name where there is room for all, else some by number, counted from 1."""
    if names and pairs <= _MOST_NAMES:
        ticks, labels = (
            [*range(pairs)],
            [drawable(display.shortened(name, 20)) for name in names],
        )
        turned = 60
    else:
        step = next(size for size in (1, 5, 10, 25, 50) if pairs <= 8 * size)
        ticks = [0, *range(step - 1, pairs, step)] if step > 1 else [*range(pairs)]
        labels, turned = [str(tick + 1) for tick in ticks], 0
    axes.set_yticks(ticks, labels, parse_math=False)
    axes.set_xticks(
        ticks, labels, parse_math=False, rotation=turned, rotation_mode="anchor",
        ha="right" if turned else "center",
    )  # fmt: skip
