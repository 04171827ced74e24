"""Where the tables stand in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.figures import RESULTS
from benchmarks.pages import DOCS
from benchmarks.pages import filled as with_figures
from benchmarks.scaling.inputs import Assumptions, measured
from benchmarks.scaling.model import Model
from benchmarks.scaling.tables import table

PAGES = (DOCS / "scaling.md", DOCS / "scaling-figures.md")
_PLACE = re.compile(r"(<!-- scaling: (\w+) -->\n).*?(<!-- end of scaling -->)", re.DOTALL)


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with its tables made anew from the results, under the assumptions as they are."""
    given = Assumptions()
    model = Model(measured(results, given.batch_size), given)

    def place(found: re.Match[str]) -> str:
        return f"{found[1]}\n{table(found[2], model)}\n\n{found[3]}"

    return _PLACE.sub(place, with_figures(page, results))


def write_pages(results: Path = RESULTS) -> None:
    """Renew the tables of the pages; none is written where a figure is missing."""
    renewed = {page: filled(page.read_text(), results) for page in PAGES}
    for page, text in renewed.items():
        page.write_text(text)
