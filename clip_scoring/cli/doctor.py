"""The command that looks at everything scoring needs."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from clip_scoring.cli.runs import Commands
from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import Settings

if TYPE_CHECKING:
    from clip_scoring.doctor.findings import Finding

FAILED = 2
"""The exit code for wrong configuration, as of every other command."""
_WIDTH = 9
"""Of the longest name of a check."""


def add_commands(commands: Commands) -> None:
    """Add `doctor`."""
    doctor = commands.add_parser(
        "doctor", help="look at everything scoring needs, and say what to do where it is not well"
    )
    doctor.add_argument("--json", action="store_true", help="a list of objects, for scripts")
    # It reads the settings itself, since they may be what is not well.
    doctor.set_defaults(command=_doctor, settings=lambda: None)


def _doctor(_: None, arguments: argparse.Namespace) -> int:
    try:
        from clip_scoring.doctor.checks import examine  # noqa: PLC0415  # --help must not wait
        from clip_scoring.doctor.findings import Verdict  # noqa: PLC0415  # as above
    except ModuleNotFoundError as broken:
        if (broken.name or "").startswith("clip_scoring"):
            raise
        raise SettingsInvalid(f"{broken}: install the packages anew, make clean setup") from broken
    logging.getLogger("clip_scoring.nightly").setLevel(logging.WARNING)  # said here
    show = _show_all if arguments.json else _show_at_once
    findings = show(examine(Settings.from_environment))
    return FAILED if any(each.verdict is Verdict.FAIL for each in findings) else 0


def _show_all(findings: Iterable[Finding]) -> list[Finding]:
    """As one list of JSON, when the last is known."""
    shown = list(findings)
    print(json.dumps([asdict(each) for each in shown], indent=2, ensure_ascii=False))
    return shown


def _show_at_once(findings: Iterable[Finding]) -> list[Finding]:
    """A line for each, as soon as it is known."""
    shown = []
    for each in findings:
        remedy = f" -> {each.remedy}" if each.remedy else ""
        print(f"{each.verdict:<4}  {each.name:<{_WIDTH}}  {each.text}{remedy}", flush=True)
        shown.append(each)
    return shown
