"""`python -m tests.hostile.images`: malformed images by seed, in both tiers, and what they did."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from clip_scoring.fingerprint import Tier
from tests.hostile.images.trial import TIERS, Report, document, try_malformed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.images", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20_000, help="malformed images for each tier")
    parser.add_argument("--tier", type=Tier, choices=TIERS, action="append")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    reports: list[Report] = []
    for tier in given.tier or TIERS:
        reports.append(try_malformed(tier, count=given.count, seed=given.seed))
        print(json.dumps(reports[-1].as_json(), indent=2), flush=True)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(document(reports), indent=2) + "\n")
    return 1 if any(each.red for each in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
