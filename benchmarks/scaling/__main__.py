"""`python -m benchmarks.scaling`: what more pairs a day need, from kept figures and stated inputs.

Every input is a figure of `results/*.json`, a constant with its source, or an assumption that an
option changes. `--write` puts the tables, with the assumptions as they are here, into
docs/scaling.md and docs/scaling-figures.md, between `<!-- scaling: NAME -->` and `<!-- end of
scaling -->`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

from benchmarks.figures import RESULTS
from benchmarks.scaling.inputs import Assumptions, measured
from benchmarks.scaling.model import Model
from benchmarks.scaling.pages import write_pages
from benchmarks.scaling.tables import MILLIONS, PICTURES, TABLES, option_name, table
from benchmarks.scaling.towers import GPUS


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every table, with the assumptions that the options give."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the pages, by defaults")
    parser.add_argument("--millions", type=float, nargs="+", default=list(MILLIONS))
    for each in fields(Assumptions):
        parser.add_argument(
            option_name(each.name), type=type(each.default), default=each.default,
            help=f"{each.metadata['what']}; default: %(default)s",
            choices={"gpu": [*GPUS], "pictures": PICTURES}.get(each.name),
        )  # fmt: skip
    asked = vars(parser.parse_args(arguments))
    write, millions = asked.pop("write"), asked.pop("millions")
    try:
        if write:
            return write_pages()
        given = Assumptions(**asked)
        model = Model(measured(RESULTS, given.batch_size), given)
    except (LookupError, ValueError) as wrong:
        parser.error(str(wrong.args[0]))
    for name in TABLES:
        print(f"{name}\n\n{table(name, model, millions)}\n")
    return None


if __name__ == "__main__":
    main()
