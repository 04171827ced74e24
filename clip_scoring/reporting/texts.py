"""How the report writes numbers, and text that others wrote: visible and cut."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 300
"""Characters that are shown of a text."""
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")


def visible(text: str) -> str:
    """`text` with every character that is not seen written out as its code, like ⟨U+202E⟩.

    What turns the direction of text around could make it read as something else.
    """
    return "".join(
        each if each in "\n\t " or not _is_hidden(each) else f"⟨U+{ord(each):04X}⟩" for each in text
    )


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN


def shortened(text: str, most: int = LONGEST) -> str:
    """At most so many characters, with an ellipsis where some are missing."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def address(uri: str) -> str:
    """An image's address without query, fragment and login: signatures are secrets.

    A login with characters that belong into no login hides the whole host rather than showing a
    part of the password.
    """
    bare = re.split(r"[?#]", uri, maxsplit=1)[0]
    ending = "?…" if uri[len(bare) :].startswith("?") else ""
    scheme, slashes, rest = bare.partition("//")
    if not slashes or (scheme and not scheme.endswith(":")):
        return bare + ending
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    shown = host if _HOST_AND_PORT.fullmatch(host) else "…"
    return f"{scheme}//{shown}{slash}{path}{ending}"


def number(value: int) -> str:
    """With thousands apart: `1,234`."""
    return f"{value:,}"


def rate(value: float) -> str:
    """Outcomes per second in about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share as `1.2 %`."""
    return f"{100 * share:.1f} %"


def similarity(value: float) -> str:
    """Four digits: more are noise between devices; the sign is a minus, not a hyphen."""
    return f"{round(value, 4) + 0.0:.4f}".replace("-", "−")


def duration(seconds: float) -> str:
    """In the two units that matter: `0.4 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s"
