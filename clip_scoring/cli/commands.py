"""How a command is added to the program: with a summary, and with examples in its help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.display import redacted

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_EXAMPLES = "examples:"


class HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs, and keeps the lines of the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrapped = super()._fill_text
        return "\n\n".join(
            paragraph if paragraph.startswith(_EXAMPLES) else wrapped(paragraph, width, indent)
            for paragraph in text.split("\n\n")
        )


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument without the secrets of an address in it."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        super().error(redacted(message))


def add_command(
    commands: Commands,
    name: str,
    *,
    summary: str,
    examples: tuple[str, str],
    exit_codes: Mapping[ExitCode, str] | None = None,
    **more: Any,
) -> argparse.ArgumentParser:
    """Add a command whose help ends with the examples; a test runs them as they stand there.

    `exit_codes` says what they mean where the command can say more than `ExitCode` does.
    """
    last = "\n".join([_EXAMPLES, *(f"  {example}" for example in examples)])
    codes = "; ".join(f"{code:d} {text}" for code, text in (exit_codes or {}).items())
    more.setdefault("description", f"{summary[0].upper()}{summary[1:]}.")
    return commands.add_parser(
        name,
        help=summary,
        epilog=f"exit codes: {codes}\n\n{last}" if codes else last,
        formatter_class=HelpFormatter,
        **more,
    )
