"""The command line."""

from __future__ import annotations

import argparse
import errno
import logging
from collections.abc import Sequence

from clip_scoring.cli import doctor, labels, runs, score
from clip_scoring.cli.commands import Parser
from clip_scoring.cli.console import TextFormat, complain, ready_streams
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.errors import ClipScoringError, Fatal, RunFailed
from clip_scoring.settings.environment import Settings

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Run one command; errors are one line on stderr and an exit code."""
    ready_streams()
    arguments = parser().parse_args(argv)
    log_lines = logging.StreamHandler()
    log_lines.setFormatter(TextFormat())
    logging.basicConfig(level=logging.WARNING, handlers=[log_lines])
    logging.getLogger("clip_scoring").setLevel(logging.INFO)
    try:
        code: ExitCode | None = arguments.command(arguments.settings(), arguments)
        return code or ExitCode.DONE
    except RunFailed as failed:
        return _fail(failed, ExitCode.RUN_FAILED)
    except ClipScoringError as error:
        return _fail(error, ExitCode.WRONG_USE if isinstance(error, Fatal) else ExitCode.TRY_AGAIN)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}"
        if error.errno not in _FULL:
            return _fail(text, ExitCode.WRONG_USE)
        return _fail(f"{text}; make room, then the same again", ExitCode.TRY_AGAIN)
    except KeyboardInterrupt:
        return _fail("interrupted", ExitCode.TRY_AGAIN)


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    program: argparse.ArgumentParser = Parser(
        prog="clip-scoring",
        description="Score image–caption pairs with CLIP. Reads CLIP_SCORING_DATABASE_URL, "
        "CLIP_SCORING_WEIGHTS and CLIP_SCORING_SOURCES.",
    )
    program.set_defaults(settings=Settings.from_environment)
    commands = program.add_subparsers(metavar="COMMAND", required=True)
    score.add_commands(commands)
    labels.add_commands(commands)
    runs.add_commands(commands)
    doctor.add_commands(commands)
    return program


def _fail(error: Exception | str, code: ExitCode) -> ExitCode:
    complain(f"clip-scoring: {error}")
    return code
