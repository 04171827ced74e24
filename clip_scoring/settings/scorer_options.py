"""What a person may choose for scoring pairs of their own, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype, Tier

INT8 = "int8"
"""As a tier: the fast one, and the towers in eight bits. What is quickest on a CPU."""
_MOST_PAIRS = 65_536


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
    """Pairs that go to the device at once."""
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
    """Choices with their defaults, as `ScorerChoices` describes them."""

    weights: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: Dtype | None = None
    tier: Tier = Tier.EXACT
    batch_size: int = 64
    threads: int | None = None
    image_root: Path | None = None
    allow_networks: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    allow_ports: tuple[int, ...] = ()
    egress_proxy: str | None = None

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> ScorerOptions:
        """From values as people and files write them; None takes the default.

        Raises SettingsInvalid naming the option, its value and what it may be.
        """
        given = {name: value for name, value in choices.items() if value is not None}
        if unknown := sorted(set(given) - {each.name for each in fields(cls)}):
            raise SettingsInvalid(f"unknown option {unknown[0]!r}")
        if given.get("tier") == INT8:
            if given.get("dtype") not in {None, Dtype.INT8}:
                raise SettingsInvalid(f"tier int8 has dtype int8, not {given['dtype']}")
            given |= {"tier": Tier.FAST, "dtype": Dtype.INT8}
        chosen: dict[str, Any] = {
            name: _PARSERS[name](name, value) for name, value in given.items()
        }
        return cls(**chosen)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise SettingsInvalid(f"option {name}: {value!r} is no text")
    return value


def _number(name: str, value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise SettingsInvalid(f"option {name}: {value!r} is not a whole number")
    if not 1 <= int(text) <= _MOST_PAIRS:
        raise SettingsInvalid(f"option {name}: {value!r} is not from 1 to {_MOST_PAIRS}")
    return int(text)


def _dtype(name: str, value: object) -> Dtype:
    if value not in [*Dtype]:
        raise SettingsInvalid(f"option {name}: {value!r} is not one of {', '.join(Dtype)}")
    return Dtype(str(value))


def _tier(name: str, value: object) -> Tier:
    if value not in [*Tier]:
        known = ", ".join([*Tier, INT8])
        raise SettingsInvalid(f"option {name}: {value!r} is not one of {known}")
    return Tier(str(value))


def _folder(name: str, value: object) -> Path:
    folder = Path(str(value)).expanduser()
    if not folder.is_dir():
        raise SettingsInvalid(f"option {name}: {value!r} is no folder")
    return folder.absolute()


def _texts(name: str, value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, Sequence):
        raise SettingsInvalid(f"option {name}: {value!r} is no list")
    return tuple(_text(name, each) for each in listed)


def _ports(name: str, value: object) -> tuple[int, ...]:
    listed = [value] if isinstance(value, int | str) else value
    if not isinstance(listed, Sequence):
        raise SettingsInvalid(f"option {name}: {value!r} is no list")
    ports = tuple(_number(name, each) for each in listed)
    if max(ports, default=1) >= _MOST_PAIRS:
        raise SettingsInvalid(f"option {name}: {max(ports)} is no port")
    return ports


def _hosts(name: str, value: object) -> tuple[str, ...]:
    return tuple(each.lower() for each in _texts(name, value))


_PARSERS = {
    "weights": _text,
    "revision": _text,
    "device": _text,
    "dtype": _dtype,
    "tier": _tier,
    "batch_size": _number,
    "threads": _number,
    "image_root": _folder,
    "allow_networks": _texts,
    "allow_hosts": _hosts,
    "allow_ports": _ports,
    "egress_proxy": _text,
}
