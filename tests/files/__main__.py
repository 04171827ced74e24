"""`python -m tests.files --kills 50`: the figures as JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.files.kills import kill_rounds

parser = argparse.ArgumentParser(description="Kill `clip-scoring score` at random moments.")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--kills", type=int, default=50)
parser.add_argument("--out", type=Path, help="a JSON file for the figures")
arguments = parser.parse_args()
with TemporaryDirectory(prefix="clip-kills-") as made:
    figures = kill_rounds(Path(made), seed=arguments.seed, kills=arguments.kills)
text = json.dumps(asdict(figures), indent=2) + "\n"
print(text, end="")
if arguments.out:
    arguments.out.write_text(text)
raise SystemExit(bool(figures.different or figures.halves))
