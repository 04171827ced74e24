"""`python -m benchmarks [planning] [sink] [long_run]`: measure, print and keep the figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import long_run, planning, sink
from benchmarks.figures import Result, keep, show

BENCHMARKS: dict[str, Callable[[bool], Result]] = {
    "planning": planning.measure,
    "sink": sink.measure,
    "long_run": long_run.measure,
}


def main() -> None:
    """Run the named benchmarks, or all; a missed target is printed, never hidden."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small sizes; keeps no results")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {sorted(unknown)[0]!r}: choose from {', '.join(BENCHMARKS)}")
    for name in arguments.names or BENCHMARKS:
        result = BENCHMARKS[name](arguments.quick)
        show(name, result)
        if not arguments.quick:
            keep(name, result)


if __name__ == "__main__":
    main()
