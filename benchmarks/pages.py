"""`python -m benchmarks.pages`: puts the kept figures into the tables of docs/, none typed by hand.

A table stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS, written

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("performance.md", "accuracy.md")
_PLACE = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
Tree = Mapping[str, Any]


def write_pages(results: Path = RESULTS, docs: Path = DOCS) -> None:
    """Renew every table of the pages from the results as they are now."""
    for name in PAGES:
        path = docs / name
        path.write_text(filled(path.read_text(), results))


def filled(page: str, results: Path) -> str:
    """The page with its tables made anew; one without results says how to get them."""

    def table(place: re.Match[str]) -> str:
        return f"{place[1]}\n{_section(place[2], results)}\n\n{place[3]}"

    return _PLACE.sub(table, page)


def _section(name: str, results: Path) -> str:
    path = results / f"{name}.json"
    if not path.is_file():
        return f"Not measured yet: `python -m benchmarks {name}`."
    tree = json.loads(path.read_text())
    rows = _TABLES.get(name, _figures)(tree)
    return f"{_origin(tree)}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _origin(tree: Tree) -> str:
    machine = tree["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    database = f", PostgreSQL {machine['postgresql']}" if "postgresql" in machine else ""
    return (
        f"Measured on {tree['measured_on']}: {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, Python {machine['python']}{database}; {packages}."
    )


def _figures(tree: Tree) -> Iterator[Sequence[str]]:
    yield "what", "value", "beside it", "ratio", "wanted"
    yield "---", "--:", "---", "--:", "---"
    for each in tree["figures"]:
        beside = ratio = ""
        if each["baseline"] is not None:
            beside = f"{each['baseline_what']}: {written(each['baseline'])}"
            ratio = f"{each['ratio']:.2f}×"
        yield each["what"], f"{written(each['value'])} {each['unit']}", beside, ratio, _wanted(each)
    for what, why in tree.get("missing", {}).items():
        yield what, why, "", "", ""


def _wanted(figure: Tree) -> str:
    return ", ".join(
        f"{target}: {'met' if met else '**missed**'}" for target, met in figure["targets"].items()
    )


def _accuracy(tree: Tree) -> Iterator[Sequence[str]]:
    groups = [each for each in tree["details"]["specimens"] if each != "all"]
    yield "weights, tier, number format", *groups, "all: mean", "all: p99", "all: max", "wanted"
    yield "---", *["--:"] * (len(groups) + 3), "---"
    for row, figure in zip(tree["details"]["rows"], tree["figures"], strict=True):
        off, whole = row["differences"], row["differences"]["all"]
        largest = [f"{off[group]['max']:.1e}" for group in groups]
        whole = [f"{whole[name]:.1e}" for name in ("mean", "p99", "max")]
        yield figure["what"], *largest, *whole, _wanted(figure)
    for what, why in tree["missing"].items():
        yield what, why, *[""] * (len(groups) + 3)
    for weights, spread in tree["details"]["spread"].items():
        what = f"{weights}: standard deviation of the similarities"
        yield what, f"{spread:.2f}", *[""] * (len(groups) + 3)


_TABLES: Mapping[str, Callable[[Tree], Iterator[Sequence[str]]]] = {"accuracy": _accuracy}


if __name__ == "__main__":
    write_pages()
