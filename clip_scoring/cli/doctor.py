"""The command that looks at everything scoring needs."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from clip_scoring.cli.commands import Commands, add_command
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import Settings

if TYPE_CHECKING:
    from clip_scoring.doctor.findings import Finding

_WIDTH = 9
"""Of the longest name of a check."""


def add_commands(commands: Commands) -> None:
    """Add `doctor`."""
    doctor = add_command(
        commands,
        "doctor",
        summary="check everything that scoring needs, and say how to repair what fails",
        examples=("clip-scoring doctor", "clip-scoring doctor --json"),
    )
    doctor.add_argument("--json", action="store_true", help="print a list of objects, for scripts")
    # It reads the settings itself, since they may be what is not well.
    doctor.set_defaults(command=_doctor, settings=lambda: None)


def _doctor(_: None, arguments: argparse.Namespace) -> ExitCode:
    try:
        from clip_scoring.doctor.checks import examine  # noqa: PLC0415  # --help must not wait
        from clip_scoring.doctor.findings import CheckStatus  # noqa: PLC0415  # as above
    except ModuleNotFoundError as broken:
        if (broken.name or "").startswith("clip_scoring"):
            raise
        raise SettingsInvalid(f"{broken}: install the packages anew, make clean setup") from broken
    logging.getLogger("clip_scoring.wiring").setLevel(logging.WARNING)  # said here
    show = _show_all if arguments.json else _show_at_once
    failed = any(
        finding.status is CheckStatus.FAIL for finding in show(examine(Settings.from_environment))
    )
    return ExitCode.WRONG_USE if failed else ExitCode.DONE


def _show_all(findings: Iterable[Finding]) -> list[Finding]:
    """As one list of JSON, when the last is known."""
    shown = list(findings)
    print(json.dumps([asdict(finding) for finding in shown], indent=2, ensure_ascii=False))
    return shown


def _show_at_once(findings: Iterable[Finding]) -> list[Finding]:
    """A line for each, as soon as it is known."""
    shown = []
    for finding in findings:
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        print(f"{finding.status:<4}  {finding.name:<{_WIDTH}}  {finding.text}{remedy}", flush=True)
        shown.append(finding)
    return shown
