"""Which part of a split a value belongs to: by its hash, whatever else there is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from math import fsum, isfinite

from clip_scoring.errors import SettingsInvalid

FEWEST, MOST = 2, 10
TOLERANCE = 1e-9
_DIGITS = 12
_NAMES = {2: ("train", "test"), 3: ("train", "val", "test")}
_UNUSABLE = frozenset('/\\:*?"<>|')


def part_of(value: str, ratios: Sequence[float], salt: str = "") -> int:
    """The number of the part, from 0, by nothing but the arguments; raises SettingsInvalid.

    BLAKE2b of salt, NUL and value gives a point in [0, 1), evenly distributed and independent
    from value to value; the ratios, laid end to end, cut [0, 1) into the parts. So each value is
    in part k with probability `ratios[k]`, and of n values there are ratio · n, give or take
    sqrt(n · ratio · (1 - ratio)).

    Other ratios move the cuts, and a value changes its part only where a cut passes its point.
    Raising the first ratio at the cost of the second moves values from the second part to the
    first and no others; at the cost of the last it moves every cut to the right, and values only
    to the part before theirs as long as no cut moves further than a part is wide.
    """
    require_ratios(ratios)
    # Rounded, so that 0.7 + 0.2 and 0.75 + 0.15 are one cut.
    cuts = [round(share, _DIGITS) for share in accumulate(ratios[:-1])]
    return bisect_right(cuts, _point(value, salt))


def require_ratios(ratios: Sequence[float]) -> None:
    """Raise SettingsInvalid unless they are 2 to 10 numbers above 0 whose sum is 1."""
    listed = ",".join(f"{ratio:g}" for ratio in ratios)
    if not FEWEST <= len(ratios) <= MOST:
        raise SettingsInvalid(
            f"ratios {listed}: give {FEWEST} to {MOST} of them, not {len(ratios)}"
        )
    for ratio in ratios:
        if not isfinite(ratio) or ratio <= 0:
            raise SettingsInvalid(f"ratios {listed}: {ratio:g} is not a number above 0")
    total = fsum(ratios)
    if abs(total - 1) > TOLERANCE:
        raise SettingsInvalid(f"ratios {listed}: their sum is {total:g}, not 1 as of 0.7,0.2,0.1")


def parse_ratios(text: str) -> tuple[float, ...]:
    """From `0.7,0.2,0.1`; raises SettingsInvalid with what is wrong."""
    try:
        ratios = tuple(float(part) for part in text.split(","))
    except ValueError as wrong:
        raise SettingsInvalid(f"ratios {text!r}: not numbers parted by commas") from wrong
    require_ratios(ratios)
    return ratios


def usual_names(count: int) -> tuple[str, ...]:
    """train and test, train, val and test, or part1 to partN."""
    return _NAMES.get(count) or tuple(f"part{number}" for number in range(1, count + 1))


def parse_names(text: str, count: int) -> tuple[str, ...]:
    """From `a,b,c`, one for each part; raises SettingsInvalid for what no file can be called."""
    names = tuple(part.strip() for part in text.split(","))
    if len(names) != count:
        raise SettingsInvalid(f"names {text}: {len(names)} names for {count} ratios")
    for name in names:
        if not name or not name.isprintable() or _UNUSABLE & set(name):
            raise SettingsInvalid(f"names {text}: {name!r} cannot be part of a file's name")
    # Some file systems take names that differ in nothing but case for the same.
    if len({name.casefold() for name in names}) < count:
        raise SettingsInvalid(f"names {text}: each part needs a name of its own")
    return names


def _point(value: str, salt: str) -> float:
    # Of bytes that are not UTF-8 the cells of a file hold lone surrogates.
    text = f"{salt}\0{value}".encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64
