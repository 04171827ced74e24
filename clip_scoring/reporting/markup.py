"""Pieces of the page; what they are given is HTML already, but for `foreign`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence

from clip_scoring.reporting.texts import safe


def section(heading: str, content: str) -> str:
    """A part of the page under its heading."""
    return f"<section>\n<h2>{heading}</h2>\n{content}</section>\n"


def note(told: str) -> str:
    """A sentence of ours beside the figures."""
    return f'<p class="note">{told}</p>\n'


def beside(*parts: str) -> str:
    """The first part wide on the left, the others below each other on its right."""
    first, *others = parts
    return f'<div class="sheet">\n{first}<div>\n{"".join(others)}</div>\n</div>\n'


def table(
    caption: str, subtitle: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """The first column names the rows, the others hold numbers; empty without rows."""
    body = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f'<td class="n">{each}</td>' for each in values)
        + "</tr>\n"
        for name, *values in rows
    )
    if not body:
        return ""
    first, *others = columns
    heads = f'<th scope="col">{first}</th>' if first else "<td></td>"
    heads += "".join(f'<th scope="col" class="n">{each}</th>' for each in others)
    smaller = f"<span>{subtitle}</span>" if subtitle else ""
    return (
        f'<div class="card wide"><table><caption>{caption}{smaller}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def image(content: bytes, media_type: str, alt: str, *, kind: str = "") -> str:
    """A picture that comes along in the page; `alt` is HTML already."""
    marked = f' class="{kind}"' if kind else ""
    return f'<img{marked} alt="{alt}" src="data:{media_type};base64,{b64encode(content).decode()}">'


def foreign(text: str) -> str:
    """Text that others wrote; its direction ends where it ends."""
    return f"<bdi>{safe(text)}</bdi>"
