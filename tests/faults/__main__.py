"""`python -m tests.faults`: one trial by seed, its report, and the same under rules that fail."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from tests.faults.harness import Trial, try_faults
from tests.faults.mutants import Rule
from tests.faults.report import Report, baseline, document
from tests.faults.server import RestartableServer

MUTANTS = [rule for rule in Rule if rule is not Rule.FENCED]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--mutant", type=Rule, choices=MUTANTS, default=Rule.FENCED)
    parser.add_argument("--baseline", type=Rule, choices=MUTANTS, action="append", default=[])
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    return parser.parse_args()


def trials(given: argparse.Namespace) -> tuple[Report, list[Report]]:
    """The trial itself, and one more for each rule that it is compared with."""
    trial = Trial(given.seed, given.faults, given.records, rule=given.mutant)
    with RestartableServer.temporary() as server:
        report = try_faults(server, trial)
        print(report, flush=True)
        baselines = []
        for rule in given.baseline:
            baselines.append(try_faults(server, replace(trial, rule=rule)))
            print(baseline(baselines[-1]), flush=True)
    return report, baselines


def main() -> int:
    given = arguments()
    report, baselines = trials(given)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(document(report, baselines), indent=2) + "\n")
    return 1 if report.red else 0


if __name__ == "__main__":
    sys.exit(main())
