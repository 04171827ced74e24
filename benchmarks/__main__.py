"""`python -m benchmarks [NAME ...]`: measure, print, keep, and put the figures into docs/."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import (
    accuracy,
    celery,
    dag,
    engine,
    files,
    loading,
    long_run,
    planning,
    repeats,
    row_size,
    sink,
    web,
)
from benchmarks.figures import Result, keep, show
from benchmarks.pages import write_pages
from benchmarks.scaling.pages import write_pages as write_scaling_pages

BENCHMARKS: dict[str, Callable[[bool], Result]] = {
    "planning": planning.measure,
    "sink": sink.measure,
    "row_size": row_size.measure,
    "long_run": long_run.measure,
    "loading": loading.measure,
    "engine": engine.measure,
    "repeats": repeats.measure,
    "dag": dag.measure,
    "accuracy": accuracy.measure,
    "web": web.measure,
    "files": files.measure,
    "celery": celery.measure,
}
ON_REQUEST: dict[str, Callable[[bool], Result]] = {"dag_vit": dag.measure_vit}
"""Those that take long and say little more than the others."""


def main() -> None:
    """Run the named benchmarks, or all; a missed target is printed, never hidden."""
    known = BENCHMARKS | ON_REQUEST
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="small sizes; keeps no results")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no benchmark {sorted(unknown)[0]!r}: choose from {', '.join(known)}")
    for name in arguments.names or BENCHMARKS:
        result = known[name](arguments.quick)
        show(name, result)
        if not arguments.quick:
            keep(name, result)
            write_pages()
            try:
                write_scaling_pages()
            except LookupError as missing:  # what one core cannot measure, for instance
                print(f"the scaling pages stay as they are: {missing.args[0]}")


if __name__ == "__main__":
    main()
