"""Brings the crash points into every Python process of a stack that a test has armed."""

import os
import sys
from pathlib import Path

if folder := os.environ.get("CLIP_CRASH_POINTS"):
    import crash_points

    crash_points.wait_for_nightly(Path(folder))
    if {"scheduler", "celery"} & {*sys.orig_argv}:
        # Tasks are forked from these processes: dozens of them share what is loaded once.
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        import clip_scoring.models.clip
        import clip_scoring.models.reference
        import clip_scoring.nightly.plan
        import clip_scoring.nightly.run  # noqa: F401

        get_checkpoint_conversion_mapping("clip")  # half a second of regular expressions
