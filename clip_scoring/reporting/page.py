"""The page of a report: HTML that stands alone, in which nothing that others wrote is markup."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from clip_scoring.reporting import markup, retrieval, texts
from clip_scoring.reporting.distribution import Distribution, described
from clip_scoring.reporting.figures import ReportFigures, ReportPair
from clip_scoring.reporting.plots import by_frequency
from clip_scoring.reporting.retrieval import Retrieval
from clip_scoring.reporting.sheets import decoded
from clip_scoring.reporting.style import STYLE
from clip_scoring.reporting.texts import safe
from clip_scoring.similarity import clip_score

Plots = Mapping[str, bytes]
"""PNG by file name, without what there was nothing to draw of."""

_SHORT_FACT = 14
_MOST_TILES = 6
_MOST_BEATEN = 10
_POLICY = (
    "default-src 'none'; img-src data:; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'"
)
_LISTS = {
    "Lowest similarities": "Where caption and picture fit least.",
    "Highest similarities": "Where they fit best.",
    "Random pairs": "Drawn from all that were scored.",
}


def page(figures: ReportFigures, light: Plots, dark: Plots) -> str:
    """The report as HTML that asks nobody for anything: no script, no link, pictures inside."""
    known = described(figures.histogram)
    sections = [
        _facts(figures.facts),
        _similarities(known, _plot("distribution.png", light, dark, _told(known))),
        _throughput(figures.throughput, light, dark),
        _rejections(figures.rejections, light, dark),
        *map(_pairs, _LISTS, (figures.lowest, figures.highest, figures.random)),
        _matrix(figures, light, dark),
    ]
    title = safe(figures.title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} – scoring report</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<p>Scoring report</p>
<h1><bdi>{title}</bdi></h1>
</header>
<main>
{"".join(sections)}</main>
<footer>
<p>Similarity is the raw cosine of image and caption, from −1 to 1. clip_score is
2.5 · max(similarity, 0), after Hessel et al. 2021.</p>
</footer>
</body>
</html>
"""


def _facts(facts: Mapping[str, str]) -> str:
    leading = takewhile(lambda fact: len(fact[1]) <= _SHORT_FACT, facts.items())
    tiles = dict(list(leading)[:_MOST_TILES])
    rows = [[name, markup.foreign(text)] for name, text in facts.items() if name not in tiles]
    large = "".join(
        f'<div class="card"><dt>{markup.foreign(name)}</dt><dd>{markup.foreign(text)}</dd></div>\n'
        for name, text in tiles.items()
    )
    parts = [f'<dl class="tiles">\n{large}</dl>\n'] if tiles else []
    if rows:
        body = "".join(
            f'<tr><th scope="row">{markup.foreign(name)}</th><td>{text}</td></tr>\n'
            for name, text in rows
        )
        caption = "<caption>About this run</caption>"
        parts.append(
            f'<div class="card facts"><table>{caption}\n<tbody>{body}</tbody></table></div>\n'
        )
    return "".join(parts)


def _told(known: Distribution | None) -> str:
    if known is None:
        return ""
    return (
        f"Histogram of {texts.number(known.pairs)} similarities from "
        f"{texts.similarity(known.lowest)} to {texts.similarity(known.highest)}, "
        f"mean {texts.similarity(known.mean)}, median {texts.similarity(known.median)}."
    )


def _similarities(known: Distribution | None, plot: str) -> str:
    if known is None:
        return markup.section("Similarities", markup.note("No pair was scored."))
    rows = {
        "highest": known.highest, "95 % are below": known.p95, "75 % are below": known.p75,
        "median": known.median, "mean": known.mean, "25 % are below": known.p25,
        "5 % are below": known.p5, "lowest": known.lowest,
    }  # fmt: skip
    table = markup.table(
        "In figures", "Counted in bins of 0.001, so right to half of that.",
        ("", "similarity"), [(name, texts.similarity(value)) for name, value in rows.items()],
    )  # fmt: skip
    return markup.section("Similarities", markup.beside(plot, table))


def _throughput(points: Sequence[tuple[float, int]], light: Plots, dark: Plots) -> str:
    if not points:
        return markup.section("Throughput", markup.note("Nothing was committed."))
    seconds, outcomes = points[-1]
    told = f"{texts.number(outcomes)} outcomes were committed in {texts.duration(seconds)}."
    rows = [
        ("outcomes", texts.number(outcomes)),
        ("time", texts.duration(seconds)),
        ("outcomes per second", texts.rate(outcomes / seconds) if seconds else "–"),
    ]
    table = markup.table("In figures", "From the start to the last commit.", ("", "figure"), rows)
    return markup.section(
        "Throughput", markup.beside(_plot("throughput.png", light, dark, told), table)
    )


def _rejections(reasons: Mapping[str, int], light: Plots, dark: Plots) -> str:
    ranked = by_frequency(reasons)
    if not ranked:
        return markup.section("Rejections", markup.note("No pair was rejected."))
    total = sum(count for _, count in ranked)
    rows = [
        (markup.foreign(reason), texts.number(count), texts.percent(count / total))
        for reason, count in ranked
    ]
    table = markup.table("By reason", "", ("reason", "pairs", "share"), rows)
    told = f"Bars of {texts.number(total)} rejected pairs by reason, as in the table beside."
    return markup.section(
        "Rejections", markup.beside(_plot("rejections.png", light, dark, told), table)
    )


def _pairs(heading: str, pairs: Sequence[ReportPair]) -> str:
    if not pairs:
        return ""
    cards = "".join(map(_card, pairs))
    return markup.section(
        heading, markup.note(_LISTS[heading]) + f'<ol class="pairs">\n{cards}</ol>\n'
    )


def _card(pair: ReportPair) -> str:
    score = f"<strong>{texts.similarity(pair.similarity)}</strong>"
    return f"""<li class="card">{_picture(pair)}<div class="told">
<p class="score">{score} <span>{markup.foreign(pair.name)}</span></p>
<p class="said">{markup.foreign(pair.caption)}</p>
<p class="address">clip_score {clip_score(pair.similarity):.4f}</p>
<p class="address">{markup.foreign(texts.address(pair.image_uri))}</p>
</div></li>
"""


def _picture(pair: ReportPair) -> str:
    if pair.picture is None or decoded(pair.picture) is None:
        return '<div class="nothing">no picture</div>'
    return markup.image(pair.picture, "image/jpeg", f"Picture of pair {safe(pair.name)}")


def _matrix(figures: ReportFigures, light: Plots, dark: Plots) -> str:
    matrix = figures.matrix
    if matrix is None or not len(matrix):
        return ""
    pairs = len(matrix)
    told = f"Heat map of the similarities of {pairs} images and {pairs} captions."
    found = markup.table(
        "Retrieval", "Each image looks for its own caption among all, and the other way round.",
        ("", "image → caption", "caption → image", "by chance"),
        _retrieval_rows(
            retrieval.summary(retrieval.caption_ranks(matrix)),
            retrieval.summary(retrieval.image_ranks(matrix)),
            retrieval.by_chance(pairs),
        ),
    )  # fmt: skip
    note = markup.note(
        "A rank is 1 + the number of others at least as similar as what belongs together: ties "
        "count against us. Recall@k is the share of ranks up to k."
    )
    plot = _plot("matrix.png", light, dark, told)
    beaten = _beaten(matrix, figures.matrix_names)
    return markup.section(
        "Everything against everything", note + markup.beside(plot, found) + beaten
    )


def _beaten(matrix: NDArray[np.float32], names: Sequence[str]) -> str:
    captions, images = retrieval.caption_ranks(matrix), retrieval.image_ranks(matrix)
    rows = [
        (
            markup.foreign(names[pair] if names else str(pair + 1)),
            texts.similarity(float(matrix[pair, pair])),
            str(captions[pair]),
            str(images[pair]),
        )
        for pair in retrieval.beaten(matrix, _MOST_BEATEN)
    ]
    columns = ("pair", "similarity", "rank of its caption", "rank of its image")
    note = f"At most {_MOST_BEATEN} pairs, those with the last ranks first."
    table = markup.table("Where others fit better", note, columns, rows)
    return table and f'<div class="below">{table}</div>\n'


def _retrieval_rows(*found: Retrieval) -> list[tuple[str, ...]]:
    return [
        ("median rank", *(f"{each.median_rank:g}" for each in found)),
        ("Recall@1", *(texts.percent(each.recall_at_1) for each in found)),
        ("Recall@5", *(texts.percent(each.recall_at_5) for each in found)),
        ("Recall@10", *(texts.percent(each.recall_at_10) for each in found)),
    ]


def _plot(name: str, light: Plots, dark: Plots, told: str) -> str:
    """By day and by night; on paper it is day."""
    if name not in light:
        return ""
    images = "\n".join(
        markup.image(plots[name], "image/png", told, kind=kind)
        for kind, plots in (("light", light), ("dark", dark))
    )
    return f'<figure class="card plot">\n{images}\n</figure>\n'
