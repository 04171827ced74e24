"""`python -m clip_scoring.cli.reference` prints docs/cli.md: what each command says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from clip_scoring.cli import parser

_HEAD = """\
# The command line

What `clip-scoring COMMAND --help` says, made by `make docs`.

Exit codes of every command: 0 done, 1 the run failed or more was rejected than allowed, 2 wrong
use, configuration or input, 3 interrupted, out of space, or something is away: a later try may
work."""


class _Wide(argparse.HelpFormatter):
    """Whatever the width of the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


def page() -> str:
    """The page, the same on terminals of any width."""
    return "\n\n".join([_HEAD, *_sections(parser())]) + "\n"


def _sections(command: argparse.ArgumentParser) -> Iterator[str]:
    below = [each for each in command._actions if isinstance(each, argparse._SubParsersAction)]
    if not below:
        command.formatter_class = _Wide
        yield f"## {command.prog}\n\n```\n{command.format_help().rstrip()}\n```"
    for group in below:
        for each in group.choices.values():
            yield from _sections(each)


if __name__ == "__main__":
    print(page(), end="")
