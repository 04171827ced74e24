"""Text in pictures: one font that comes with Matplotlib, and only characters that it has."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from clip_scoring.display import visible

FONT = "DejaVu Sans"
MISSING = "□"


def drawable(text: str) -> str:
    """One line of `text`, hidden characters written out, others that the font lacks as □.

    Draw it with `parse_math=False`, for a `$` is a dollar and nothing else.
    """
    line = " ".join(visible(text).split())
    return "".join(letter if ord(letter) in _glyphs() else MISSING for letter in line)


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """Code points of the font in its regular weight."""
    font = FT2Font(findfont(FontProperties(family=FONT)))
    return frozenset(font.get_charmap())
