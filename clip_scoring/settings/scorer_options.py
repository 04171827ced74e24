"""Options for scoring pairs of one's own, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.runs import DEFAULT_BATCH_SIZE
from clip_scoring.settings.fields import (
    INT8,
    AnyCaseHostName,
    BatchSize,
    Cores,
    DtypeName,
    Folder,
    Network,
    OneOrMore,
    Port,
    Proxy,
    Text,
    TierOrInt8,
)
from clip_scoring.settings.problems import options_of


class ScorerChoices(TypedDict, total=False):
    """Keyword arguments of `Scorer` and `score_pairs`; what is left out has a default."""

    weights: str | None
    """A registered name, a folder, or `owner/name` on the hub; else `CLIP_SCORING_WEIGHTS`, or the
    embedded `tiny`."""
    revision: str | None
    """The commit of weights on the hub, 40 hex digits; `owner/name@commit` says the same."""
    device: str
    """`auto`, `cpu`, `cuda`, `cuda:N`, `mps`."""
    dtype: str | None
    """`float32`, `float16`, `bfloat16`, `int8`; else float16 on a GPU, float32 elsewhere."""
    tier: str
    """`exact`, `fast`, `nvjpeg`, or `int8`, which is `fast` with dtype int8."""
    batch_size: int
    """Pairs that are read, loaded and scored at once."""
    threads: int | None
    """Of torch on a CPU; else torch's own number. Setting it holds for the process."""
    image_root: str | Path | None
    """Where relative paths begin, and what no path leads out of; else the current folder, and any
    path may be named."""
    allow_networks: Sequence[str]
    """Networks (CIDR) to fetch images from although they are not public."""
    allow_hosts: Sequence[str]
    """Exact host names to fetch images from wherever they lead."""
    allow_ports: Sequence[int]
    """Ports to fetch images from beside 80 and 443."""
    egress_proxy: str | None
    """A proxy that every request for an image goes through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerOptions:
    """`ScorerChoices` with their defaults, checked."""

    weights: Text | None = None
    revision: Text | None = None
    device: Text = "auto"
    dtype: DtypeName | None = None
    tier: TierOrInt8 = Tier.EXACT
    batch_size: BatchSize = DEFAULT_BATCH_SIZE
    threads: Cores | None = None
    image_root: Folder | None = None
    allow_networks: Annotated[tuple[Network, ...], OneOrMore] = ()
    allow_hosts: Annotated[tuple[AnyCaseHostName, ...], OneOrMore] = ()
    allow_ports: Annotated[tuple[Port, ...], OneOrMore] = ()
    egress_proxy: Proxy | None = None

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> ScorerOptions:
        """From values as people and files write them; None takes the default.

        Raises SettingsInvalid with a line for each wrong option: its value, what it may be.
        """
        given = dict(choices)
        if given.get("tier") == INT8:
            if given.get("dtype") not in {None, Dtype.INT8}:
                raise SettingsInvalid(f"tier int8 has dtype int8, not {given['dtype']}")
            given |= {"tier": Tier.FAST, "dtype": Dtype.INT8}
        return options_of(cls, given)
