"""`python -m clip_scoring` is the command line."""

import sys

from clip_scoring.cli import main

sys.exit(main())
