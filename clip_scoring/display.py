"""Output for people: numbers, and untrusted texts with nothing hidden and no secrets."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 300
"""Characters that are shown of a text."""
NOTHING = "–"
"""Stands where there is no value."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ELLIPSIS = "…"

# Characters that some parser takes for these, and percent encodings of them, also twice encoded.
_AT = re.compile(r"[@＠﹫]|%(?:25)*40")
_COLON = re.compile(r"[:：﹕]|%(?:25)*3a", re.IGNORECASE)
_QUERY = re.compile(r"[?？﹖]|%(?:25)*3f|(?P<fragment>[#＃﹟]|%(?:25)*23)", re.IGNORECASE)
_PAYLOAD = re.compile(r"(?<![a-z0-9])data(?:[:：﹕]|%(?:25)*3a)", re.IGNORECASE)
_SHOWN = re.compile(
    r"(?:^|(?<=[/\\'\"(=]))…@|(?:(?<![a-z0-9])data:|[?#])…(?=['\"),.:;]*$)", re.IGNORECASE
)
"""What stands where a secret was, in a text that comes here for the second time."""
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
_OPENING = re.compile(rf"(?:{_SCHEME})?[/\\]{{2,}}|{_SCHEME}[/\\]")
_HOST = re.compile(r"(?:\[[^\[\]@\s]{0,80}\]|[^\s:@＠﹫%\\\[\]]{0,255})(?P<port>:\d{0,5})?")
_SLASHES = re.compile(r"[/\\]{2}")
_SCHEME_BEFORE = re.compile(rf"{_SCHEME}$")
_LONGEST_SCHEME = 32


def visible(text: str) -> str:
    """`text` with every character that is not seen written out as its code, like ⟨U+202E⟩.

    What turns the direction of text around could make it read as something else.
    """
    return "".join(
        character if character in "\n\t " or not _is_hidden(character)
        else f"⟨U+{ord(character):04X}⟩"
        for character in text
    )  # fmt: skip


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN


def _is_blank(character: str) -> bool:
    return character.isspace() or _is_hidden(character)


def shortened(text: str, limit: int = LONGEST) -> str:
    """At most `limit` characters, with an ellipsis where some are missing."""
    return text if len(text) <= limit else f"{text[: limit - 1]}{_ELLIPSIS}"


def address(uri: str, limit: int = LONGEST) -> str:
    """An address of any scheme or none without login, query, fragment and payload: they are secret.

    Where parsers could disagree on where a login ends, all before the last `@` is left out, or the
    whole address. Everything behind the first `?` or `#` is left out, also of a file's name or an
    object's key: nobody can tell those from an address that is signed. An `@` in a path stays
    where no colon or hidden character stands before it, since then no parser reads a login there.
    """
    return visible(shortened(_without_secrets(uri), limit))


def redacted(text: str) -> str:
    """A text with the addresses in it as `address` has them; other words are as they were.

    An address that holds white space ends there: where one is known as such, use `address`.
    """
    return re.sub(r"\S+", lambda word: _redacted_word(word[0]), text)


def one_line(text: str) -> str:
    """At most 200 printable characters without secrets of addresses, whatever came in."""
    return "".join(
        character if character.isprintable() else "?" for character in redacted(text)[:200]
    )


def redacted_cell(text: str) -> str:
    """A cell of a file, which may be an address as a whole, or hold some."""
    if not _may_hold_secret(text):
        return text
    login = _AT.search(text)
    is_address = (login and _COLON.search(text[: login.start()])) or _SLASHES.search(text)
    return _without_secrets(text) if is_address else redacted(text)


def number(value: float | None, digits: int = 0) -> str:
    """With thousands apart, `1,234`; a dash for None."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def rate(value: float) -> str:
    """Outcomes per second in about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share as `1.2 %`; a dash for None."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def similarity(value: float | None) -> str:
    """Four digits: more are noise between devices; the sign is a minus, not a hyphen."""
    return NOTHING if value is None else f"{round(value, 4) + 0.0:.4f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """In the two units that matter: `0.4 s`, `2 min 05 s`, `1 h 02 min`; a dash for None."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _may_hold_secret(text: str) -> bool:
    rest = _SHOWN.sub(" ", text)
    return any(pattern.search(rest) for pattern in (_AT, _PAYLOAD, _QUERY))


def _redacted_word(word: str) -> str:
    if not _may_hold_secret(word):
        return word
    login, payload = _AT.search(word), _PAYLOAD.search(word)
    if slashes := _SLASHES.search(word):
        start = _start_of_address(word, slashes.start())
        if not (_AT.search(word[:start]) or _PAYLOAD.search(word[:start])):
            return f"{word[:start]}{_without_secrets(word[start:])}"
    holds_payload = payload is not None and payload.end() < len(word)
    holds_login = login is not None and _COLON.search(word[: login.start()])
    return _without_secrets(word) if slashes or holds_payload or holds_login else word


def _start_of_address(word: str, slashes: int) -> int:
    """Where the scheme before the slashes begins, or the slashes themselves without one."""
    scheme = _SCHEME_BEFORE.search(word[max(slashes - _LONGEST_SCHEME, 0) : slashes])
    return slashes - (len(scheme[0]) if scheme else 0)


def _without_secrets(uri: str) -> str:
    if payload := _PAYLOAD.search(uri):
        before = "" if _AT.search(uri) else _without_secrets(uri[: payload.start()])
        return f"{before}data:{_ELLIPSIS}"
    if _PAYLOAD.search("".join(c for c in uri if not _is_blank(c))):
        return f"data:{_ELLIPSIS}"
    query = _QUERY.search(uri)
    if query is None:
        return _without_login(uri, "")
    body = _without_login(uri[: query.start()], uri[query.start() :])
    if query["fragment"] is None:
        return f"{body}?{_ELLIPSIS}"
    return body if body.endswith(_ELLIPSIS) else f"{body}#{_ELLIPSIS}"


def _without_login(body: str, tail: str) -> str:
    """An address up to `tail`, its query or fragment."""
    start = next((at for at, c in enumerate(body) if not _is_blank(c)), 0)
    opening = _OPENING.match(body, start)
    if opening is None:
        return _path(body, tail)
    return f"{body[: opening.end()]}{_authority_and_path(body[opening.end() :], tail)}"


def _known_host(host: str) -> re.Match[str] | None:
    return None if any(map(_is_hidden, host)) else _HOST.fullmatch(host)


def _authority_and_path(rest: str, tail: str) -> str:
    """The part of an address after its slashes; `tail` is its query or fragment."""
    authority, slash, path = rest.partition("/")
    _, at, host = authority.rpartition("@")
    known = _known_host(host)
    if known is None:
        behind = f"{slash}{path}" if len(rest) <= LONGEST else ""
        return _behind_login(rest, tail) or f"{_ELLIPSIS}{behind}"
    # A password may hold a slash, `?` or `#`: then what looks like host and port is none.
    is_doubtful = (known["port"] and not at) or not slash
    # The `@` may be missing where a long address was cut before it came here.
    is_more = _AT.search(f"{path}{tail}") or len(rest) > LONGEST
    if is_doubtful and is_more:
        return _behind_login(rest, tail) or _ELLIPSIS
    return f"{host}{slash}{_path(path, '')}"


def _path(path: str, tail: str) -> str:
    """A path or name, which may hold another address."""
    *_, last = [None, *_AT.finditer(path)]
    before = path[: last.start()] if last else path
    if last and (_COLON.search(before) or "\\" in before or any(map(_is_hidden, path))):
        return _behind_login(path, tail) or _ELLIPSIS
    if _COLON.search(before) and (_AT.search(tail) or len(path) > LONGEST):
        return _ELLIPSIS
    return path


def _behind_login(rest: str, tail: str) -> str:
    """What stands behind the last `@`; only an ellipsis where that is no host, '' without an `@`.

    An `@` behind `?` or `#` may end a password that holds them.
    """
    if _AT.search(tail):
        return _ELLIPSIS
    *_, last = [None, *_AT.finditer(rest)]
    if last is None:
        return ""
    behind = rest[last.end() :]
    is_host = _HOST.fullmatch(behind.partition("/")[0]) is not None
    return f"{_ELLIPSIS}@{behind}" if is_host else _ELLIPSIS
