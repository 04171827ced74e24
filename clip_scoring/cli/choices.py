"""Options that several commands over files have: dialect, output, scoring, fetching."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, cast

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.runs import DEFAULT_BATCH_SIZE
from clip_scoring.settings.fields import INT8, BatchSize, bounds
from clip_scoring.settings.problems import checked
from clip_scoring.settings.scorer_options import ScorerChoices

NOT_GIVEN = argparse.SUPPRESS
"""As a parser's `argument_default`: an option that is not given has no value, so that a file's can
take its place, or the default of whoever takes it."""


def span(kind: Any) -> str:
    """The limits of a number, for a help text: `1 to 4,096`."""
    limits = bounds(kind)
    return f"{limits['minimum']:,} to {limits['maximum']:,}"


def argument(kind: Any) -> Callable[[str], Any]:
    """As `type` of an argument: the value, or a usage error that says what it must be."""

    def parse(text: str) -> Any:
        try:
            return checked("value", kind, text)
        except SettingsInvalid as wrong:
            raise argparse.ArgumentTypeError(str(wrong).removeprefix("value: ")) from wrong

    return parse


def add_dialect_options(group: argparse._ArgumentGroup) -> None:
    """How cells and columns of the file are told apart."""
    group.add_argument(
        "--delimiter",
        metavar="CHAR",
        help="character between cells (default: detected from the header)",
    )
    group.add_argument(
        "--no-header",
        dest="has_header",
        action="store_false",
        help="the first row is data; columns are named by number, from 1",
    )


def add_force_option(group: argparse._ArgumentGroup) -> None:
    """Whether an output may be replaced."""
    group.add_argument("--force", action="store_true", help="overwrite existing outputs")


def add_column_options(group: argparse._ArgumentGroup) -> None:
    """How our columns and everybody's cells are written."""
    group.add_argument(
        "--column-prefix",
        metavar="TEXT",
        help="prefix of the names of the new columns",
    )
    group.add_argument(
        "--excel-safe",
        action="store_true",
        help="put an apostrophe before text that a spreadsheet would run as a formula",
    )


def add_scoring_options(command: argparse.ArgumentParser) -> None:
    """The arguments of `ScorerChoices`."""
    group = command.add_argument_group("scoring")
    group.add_argument(
        "--weights",
        help="registered name, directory, or owner/name on the hub (default: CLIP_SCORING_WEIGHTS, "
        "else the embedded tiny)",
    )
    group.add_argument("--revision", help="commit of weights on the hub, 40 hex digits")
    group.add_argument(
        "--device",
        help="auto, cpu, cuda, cuda:N or mps (default: auto, a GPU where there is one)",
    )
    group.add_argument(
        "--dtype",
        choices=[*Dtype],
        help="number format of the towers (default: float16 on a GPU, float32 elsewhere)",
    )
    group.add_argument(
        "--tier",
        choices=[*Tier, INT8],
        help="how images are decoded and resized (default: exact); int8 means --tier fast --dtype "
        "int8",
    )
    group.add_argument(
        "--batch-size",
        metavar="N",
        help=f"pairs that are read, loaded and scored together, {span(BatchSize)} (default: "
        f"{DEFAULT_BATCH_SIZE})",
    )
    _add_fetching(command.add_argument_group("fetching"))


def _add_fetching(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image-root",
        metavar="DIR",
        help="directory of relative paths; no image outside it is read (default: the directory of "
        "the file, and any path is read)",
    )
    group.add_argument(
        "--allow-network",
        dest="allow_networks",
        action="append",
        metavar="CIDR",
        help="private network that images may be fetched from; can be repeated",
    )
    group.add_argument(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        metavar="NAME",
        help="host that images may be fetched from, even at a private address; can be repeated",
    )
    group.add_argument(
        "--allow-port",
        dest="allow_ports",
        action="append",
        metavar="PORT",
        help="port that images may be fetched from, besides 80 and 443; can be repeated",
    )
    group.add_argument("--egress-proxy", metavar="URL", help="proxy for all image requests")


def scorer_choices(given: Mapping[str, Any]) -> ScorerChoices:
    """Those of the values that are for the scorer."""
    chosen = {name: given[name] for name in ScorerChoices.__annotations__ if name in given}
    return cast("ScorerChoices", chosen)  # ScorerOptions checks it
