"""`python -m clip_scoring.cli.reference` prints docs/cli.md: what each command says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from clip_scoring.cli import parser
from clip_scoring.cli.commands import HelpFormatter
from clip_scoring.cli.exit_code import ExitCode

_HEAD = """\
# The command line

The output of `clip-scoring COMMAND --help`, written by `make docs`. A test runs the examples.

Exit codes of every command:

| code | name | meaning |
| --: | --- | --- |
"""


class _Wide(HelpFormatter):
    """Whatever the width of the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


def page() -> str:
    """The page, the same on terminals of any width."""
    codes = "\n".join(f"| {code:d} | `{code.name}` | {code.meaning} |" for code in ExitCode)
    return "\n\n".join([_HEAD + codes, *map(_section, leaves(parser()))]) + "\n"


def leaves(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands that have no commands below them, in the order of the help."""
    below = [
        action for action in command._actions if isinstance(action, argparse._SubParsersAction)
    ]
    if not below:
        yield command
    for group in below:
        for choice in group.choices.values():
            yield from leaves(choice)


def _section(command: argparse.ArgumentParser) -> str:
    command.formatter_class = _Wide
    return f"## {command.prog}\n\n```\n{command.format_help().rstrip()}\n```"


if __name__ == "__main__":
    print(page(), end="")
