"""The page of a report: HTML that stands alone, in which nothing that others wrote is markup."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clip_scoring import display
from clip_scoring.reporting import retrieval
from clip_scoring.reporting.distribution import described
from clip_scoring.reporting.figures import ReportFigures, ReportPair
from clip_scoring.reporting.plots import by_frequency
from clip_scoring.reporting.retrieval import Retrieval
from clip_scoring.reporting.sheets import decoded
from clip_scoring.reporting.style import STYLE
from clip_scoring.similarity import clip_score

Plots = Mapping[str, bytes]
"""PNG by file name, without what there was nothing to draw of."""

_SHORT_FACT = 14
_MOST_TILES = 6
_MOST_MISRANKED = 10

environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
"""Whatever is put into a template is escaped; a name that it does not know is an error."""
environment.filters |= {
    function.__name__: function
    for function in (
        display.number, display.rate, display.percent, display.similarity, display.duration,
        display.visible, display.shortened, display.address, display.redacted_cell, clip_score,
    )
}  # fmt: skip
environment.filters["base64"] = lambda content: b64encode(content).decode()
environment.filters["rank"] = lambda rank: f"{rank:g}"


@dataclass(frozen=True, slots=True)
class MisrankedPair:
    """A pair that others beat: where its caption and its image stand among all."""

    name: str
    similarity: float
    caption_rank: int
    image_rank: int


@dataclass(frozen=True, slots=True)
class MatrixFigures:
    """The retrieval figures of the matrix, both ways, compared with guessing."""

    pairs: int
    captions: Retrieval
    images: Retrieval
    by_chance: Retrieval
    misranked: Sequence[MisrankedPair]


def page(figures: ReportFigures, light: Plots, dark: Plots) -> str:
    """The report as HTML that asks nobody for anything: no script, no link, pictures inside."""
    tiles = _tiles(figures.facts)
    return environment.get_template("report.html").render(
        title=figures.title,
        style=STYLE,
        style_digest=b64encode(sha256(STYLE.encode()).digest()).decode(),
        tiles=tiles,
        facts={name: text for name, text in figures.facts.items() if name not in tiles},
        known=described(figures.histogram),
        last_commit=figures.throughput[-1] if figures.throughput else None,
        rejections=by_frequency(figures.rejections),
        lowest=_presentable(figures.lowest),
        highest=_presentable(figures.highest),
        random=_presentable(figures.random),
        matrix=_matrix(figures),
        most_misranked=_MOST_MISRANKED,
        light=light,
        dark=dark,
    )


def _tiles(facts: Mapping[str, str]) -> dict[str, str]:
    """The short facts at the start, which are shown large."""
    leading = takewhile(lambda fact: len(fact[1]) <= _SHORT_FACT, facts.items())
    return dict(list(leading)[:_MOST_TILES])


def _presentable(pairs: Sequence[ReportPair]) -> list[ReportPair]:
    """The pairs, without the pictures that cannot be shown."""
    return [
        pair if decoded(pair.picture) is not None else replace(pair, picture=None) for pair in pairs
    ]


def _matrix(figures: ReportFigures) -> MatrixFigures | None:
    matrix, names = figures.matrix, figures.matrix_names
    if matrix is None or not len(matrix):
        return None
    captions, images = retrieval.caption_ranks(matrix), retrieval.image_ranks(matrix)
    return MatrixFigures(
        pairs=len(matrix),
        captions=retrieval.summary(captions),
        images=retrieval.summary(images),
        by_chance=retrieval.by_chance(len(matrix)),
        misranked=[
            MisrankedPair(
                name=names[pair] if names else str(pair + 1),
                similarity=float(matrix[pair, pair]),
                caption_rank=int(captions[pair]),
                image_rank=int(images[pair]),
            )
            for pair in retrieval.misranked(matrix, _MOST_MISRANKED)
        ],
    )
