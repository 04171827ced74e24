"""Options on how pairs are scored and images fetched, the same for each command that does so."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, cast

from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.scorer_options import INT8, ScorerChoices

NOT_GIVEN = argparse.SUPPRESS
"""As a default: an option that is not given has no value, so that a file's can take its place."""


def add_scoring_options(command: argparse.ArgumentParser) -> None:
    """What `ScorerChoices` takes."""
    group = command.add_argument_group("how pairs are scored")
    group.add_argument(
        "--weights",
        default=NOT_GIVEN,
        help="a registered name, a folder, or owner/name on the hub (default: "
        "CLIP_SCORING_WEIGHTS, else the embedded tiny)",
    )
    group.add_argument(
        "--revision", default=NOT_GIVEN, help="the commit of weights on the hub, 40 hex digits"
    )
    group.add_argument(
        "--device",
        default=NOT_GIVEN,
        help="auto, cpu, cuda, cuda:N or mps (default: auto, a GPU where there is one)",
    )
    group.add_argument(
        "--dtype",
        default=NOT_GIVEN,
        choices=[*Dtype],
        help="number format (default: float16 on a GPU, float32 elsewhere)",
    )
    group.add_argument(
        "--tier",
        default=NOT_GIVEN,
        choices=[*Tier, INT8],
        help="how pixels are made (default: exact); int8 is fast with --dtype int8",
    )
    group.add_argument(
        "--batch-size", default=NOT_GIVEN, help="pairs to the device at once (default: 64)"
    )
    _add_fetching(command.add_argument_group("where images come from"))


def _add_fetching(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image-root",
        default=NOT_GIVEN,
        metavar="DIR",
        help="where relative paths begin, and what no path may lead out of (default: the folder "
        "of the file, and any path may be named)",
    )
    group.add_argument(
        "--allow-network",
        dest="allow_networks",
        action="append",
        default=NOT_GIVEN,
        metavar="CIDR",
        help="a network to fetch from although it is not public; may be given again",
    )
    group.add_argument(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        default=NOT_GIVEN,
        metavar="NAME",
        help="a host to fetch from wherever it leads; may be given again",
    )
    group.add_argument(
        "--allow-port",
        dest="allow_ports",
        action="append",
        default=NOT_GIVEN,
        metavar="PORT",
        help="a port to fetch from beside 80 and 443; may be given again",
    )
    group.add_argument(
        "--egress-proxy", default=NOT_GIVEN, metavar="URL", help="a proxy for every image"
    )


def scorer_choices(given: Mapping[str, Any]) -> ScorerChoices:
    """Those of the values that are for the scorer."""
    chosen = {name: given[name] for name in ScorerChoices.__annotations__ if name in given}
    return cast("ScorerChoices", chosen)  # ScorerOptions checks it
