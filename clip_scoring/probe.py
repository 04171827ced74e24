"""`python -m clip_scoring.probe SOURCE WEIGHTS`: the process that may die of a record."""

from __future__ import annotations

import sys

from clip_scoring.images.probe import load_one_by_one
from clip_scoring.settings import Settings
from clip_scoring.wiring import open_loader

if __name__ == "__main__":
    source, weights = sys.argv[1:]
    with open_loader(Settings.from_environment(), source, weights) as loader:
        load_one_by_one(loader)
