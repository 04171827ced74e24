"""Numbers for people, and addresses without their secrets."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from clip_scoring import display

SECRET = re.compile("[α-ω]")
"""Whatever is secret below is written in Greek, and nothing else is."""
HIDDEN = "\u202e\u200b\x00\ufeff\ud800\t\n\u2028"
GREEK = st.text("αβγδπω", min_size=1, max_size=6)
LOGINS = st.text("αβγδπω09:/\\?#@;&=! %'\"", min_size=1, max_size=12)
ENCODED = {"@": "%40", ":": "%3A"}
OPENINGS = ["http://", "HTTPS://", "ftp://", "s3://", "file://", "x+y-z.1://", "//", "http:\\\\"]
HOSTS = ["h", "host.example:8080", "[::1]", "[fe80::1%25eth0]:80", "bücher.example", "127.0.0.1"]
PATHS = ["", "/", "/x.jpg", "/a/b%20c.jpg", "/a@2x.jpg", "/@me/a.png", "\\x.jpg"]


# Addresses


@pytest.mark.parametrize(
    ("uri", "written"),
    [
        ("https://me:secret@host/a.jpg?X-Signature=secret#part", "https://host/a.jpg?…"),
        ("https://me:se@cret@host:8080/a@2x.jpg", "https://host:8080/a@2x.jpg"),
        ("https://me:pass#word@host/a.jpg", "https://…"),
        ("http://me:secret@[broken?secret", "http://…?…"),
        ("http://[broken?secret", "http://…?…"),
        ("http://[::1]:80/a.jpg", "http://[::1]:80/a.jpg"),
        ("http://host:8080/a.jpg", "http://host:8080/a.jpg"),
        ("//me:secret@host/a.jpg", "//host/a.jpg"),
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("s3://bucket/a.jpg?versionId=secret", "s3://bucket/a.jpg?…"),
        ("ftp://user:pw@h/x?sig=secret", "ftp://h/x?…"),
        ("FTP://user:pw@h/x", "FTP://h/x"),
        ("http://user:p/w@host/x.jpg", "http://…@host/x.jpg"),
        ("http://user:p/w@host/a@2x.jpg", "http://…@2x.jpg"),
        ("http://user:12/w@host/x.jpg", "http://…@host/x.jpg"),
        ("http://user:p?w@host/x.jpg", "http://…?…"),
        ("http://h\\@evil/", "http://evil/"),
        ("http:\\\\u:p@h\\x", "http:\\\\…"),
        ("user:pw@host/x.jpg?sig=1", "…@host/x.jpg?…"),
        ("http:token@host/x", "…@host/x"),
        ("http://token%40host/x", "http://…@host/x"),
        ("http://token%2540host/x", "http://…@host/x"),
        ("http://token＠host/x", "http://…@host/x"),
        ("https://proxy/http://u:p@h/x.jpg?s=1", "https://proxy/…@h/x.jpg?…"),
        ("https://proxy/http%3A%2F%2Fu%3Ap%40h", "https://proxy/…@h"),
        ("https://proxy/http%3A%2F%2Fh%2Fx%3Fsig%3D1", "https://proxy/http%3A%2F%2Fh%2Fx?…"),
        ("data:image/png;base64,iVBORw0KGgo=", "data:…"),
        ("DATA:,secret", "data:…"),
        ("\u200bda\nta:,secret", "data:…"),
        ("http://h/data:,secret", "http://h/data:…"),
        ("http://u:data:p@h/", "data:…"),
        ("http://" + "t" * 2000, "http://…"),
        ("user:" + "p" * 2000, "…"),
        ("http://u:p\ud800@h/\u202ex", "http://h/⟨U+202E⟩x"),
        ("/\n/token@h/x", "…@h/x"),
    ],
)
def test_addresses_are_shown_without_their_secrets(uri: str, written: str) -> None:
    assert display.address(uri) == written


@pytest.mark.parametrize(
    ("uri", "written"),
    [
        ("images/ä.jpg", "images/ä.jpg"),
        ("images//ä@2x.jpg", "images//ä@2x.jpg"),
        ("me@home.jpg", "me@home.jpg"),
        ("a:b.jpg", "a:b.jpg"),
        ("photo #3.jpg", "photo #…"),
        ("what?.jpg", "what?…"),
        ("a:b@c.jpg", "…@c.jpg"),
        ("metadata:x", "metadata:x"),
        ("x" * 400, "x" * 299 + "…"),
        ("", ""),
    ],
)
def test_names_of_files_end_at_a_question_mark_or_hash_too(uri: str, written: str) -> None:
    """Nobody can tell `what?.jpg` from an address that is signed."""
    assert display.address(uri) == written


def _is_a_login(login: str) -> bool:
    """Whether any parser reads all of it as one.

    `tok/en@h` is a host with a path to each of them, and the login of `u:p@w/x@h` ends at its
    first `@`.
    """
    login = re.sub("%3a", ":", re.sub("%40", "@", login, flags=re.IGNORECASE), flags=re.IGNORECASE)
    first, slash, _ = login.partition("/")
    return not slash or (":" in first and "@" not in first)


@given(
    opening=st.sampled_from(OPENINGS),
    login=st.none() | LOGINS,
    host=st.sampled_from(HOSTS),
    path=st.sampled_from(PATHS),
    query=st.none() | LOGINS,
    fragment=st.none() | LOGINS,
)
@example("http://", "α:β/γ", "h", "/x.jpg", None, None)
@example("http://", "α?β", "h", "/x.jpg", None, None)
@example("http://", "α:09/β", "h", "/x.jpg", None, None)
@example("http://", None, "host.example:8080", "", "α@β", None)
def test_no_part_of_login_query_or_fragment_is_shown(
    opening: str, login: str | None, host: str, path: str, query: str | None, fragment: str | None
) -> None:
    assume(login is None or _is_a_login(login))
    uri = f"{opening}{'' if login is None else login + '@'}{host}{path}"
    uri += "" if query is None else f"?{query}"
    uri += "" if fragment is None else f"#{fragment}"
    assert not SECRET.search(display.address(uri))
    assert not SECRET.search(display.redacted_cell(uri))
    if not re.search(r"\s", uri):
        assert not SECRET.search(display.redacted(f"cannot read '{uri}', try again"))


@given(login=LOGINS, hidden=st.sampled_from(HIDDEN), at=st.integers(0, 40), encoded=st.booleans())
def test_hidden_characters_and_percent_encoding_hide_no_login(
    login: str, hidden: str, at: int, encoded: bool
) -> None:
    assume(_is_a_login(login))
    if encoded:
        login = "".join(ENCODED.get(character, character) for character in login)
    uri = f"http://{login}@h/x.jpg"
    assert not SECRET.search(display.address(f"{uri[:at]}{hidden}{uri[at:]}"))


@given(start=st.sampled_from(["http://", "//", "ftp://u:", "u:", "http://h/http://"]), login=GREEK)
def test_a_login_whose_end_was_cut_off_is_not_shown(start: str, login: str) -> None:
    assert not SECRET.search(display.address((start + login * 2000)[:2000]).rstrip("…"))


@given(text=st.text(), payload=GREEK)
def test_a_payload_is_never_shown(text: str, payload: str) -> None:
    assume(not SECRET.search(text))
    assert not SECRET.search(display.address(f"data:{text}{payload}"))


@given(text=st.text())
def test_what_is_shown_is_visible_and_short(text: str) -> None:
    shown = display.address(text)
    assert display.visible(shown) == shown
    assert len(shown) <= 300 * len("⟨U+10FFFF⟩")


@given(path=st.text(string.ascii_letters + "äß_-.,;/ ()+", max_size=200))
def test_a_plain_path_is_shown_as_it_is(path: str) -> None:
    assert display.address(path) == path


@pytest.mark.parametrize("text", [":" * 100_000, "a" * 100_000, "//" * 50_000, "%25" * 40_000])
def test_long_texts_take_no_longer_than_their_length(text: str) -> None:
    """Quadratic work on these would run into the limit of the suite."""
    assert display.redacted(text) == text
    assert len(display.address(text)) <= 300


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a red bus, 3:4, what? #5, me@x.example", "a red bus, 3:4, what? #5, me@x.example"),
        ("egress_proxy is http://host:port, and", "egress_proxy is http://host:port, and"),
        ("no data: it is empty", "no data: it is empty"),
        ('URL: "http://h:9/b?list=2" now', 'URL: "http://h:9/b?… now'),
        ("url=http://u:p@h/x?s", "url=http://h/x?…"),
        ("at u:p@h, then", "at …@h, then"),
        ("got data:,secret here", "got data:… here"),
    ],
)
def test_addresses_in_a_text_are_redacted_and_its_words_stay(text: str, written: str) -> None:
    assert display.redacted(text) == written


@pytest.mark.parametrize(
    "text",
    [
        "'http://…@host/x.jpg'", "'http:/…@host:80/x?…',", "…@host/x?…", "('data:…')",
        "http://host:port", "url='//h/x#…'",
    ],
)  # fmt: skip
def test_what_was_redacted_before_stays_as_it_is(text: str) -> None:
    assert (display.redacted(text), display.redacted_cell(text)) == (text, text)


@pytest.mark.parametrize(
    "text", ["http://…@h/u:α@h", "http://u:α…@h/", "'//h/?…α'", "data:…α", "//u:α@h/x?…"]
)
def test_what_only_looks_as_if_it_was_redacted_is_redacted(text: str) -> None:
    assert not SECRET.search(display.redacted(text) + display.redacted_cell(text))


# Other texts and numbers


@pytest.mark.parametrize(
    "character", ["\u202e", "\u200b", "\x1b", "\u2028", "\ufeff", "\U000e0041", "\ud800"]
)
def test_characters_that_are_not_seen_are_written_out(character: str) -> None:
    assert display.visible(f"a{character}b") == f"a⟨U+{ord(character):04X}⟩b"


def test_letters_of_all_scripts_stay() -> None:
    text = "ünïcode ☃ 日本語 עברית\n\ttwo lines"
    assert display.visible(text) == text


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "–"), (0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (60, "1 min 00 s"),
        (125, "2 min 05 s"), (3599.7, "1 h 00 min"), (7320, "2 h 02 min"),
    ],
)  # fmt: skip
def test_durations_have_the_units_that_matter(seconds: float | None, written: str) -> None:
    assert display.duration(seconds) == written


def test_a_similarity_has_four_digits_and_a_minus() -> None:
    assert [display.similarity(value) for value in (-0.36234, -0.00001, 1, None)] == [
        "−0.3623", "0.0000", "1.0000", "–",
    ]  # fmt: skip


def test_numbers_have_their_thousands_apart() -> None:
    assert [display.number(1234), display.number(1234.56, 1), display.number(None)] == [
        "1,234", "1,234.6", "–",
    ]  # fmt: skip
    assert [display.rate(1234.5), display.rate(1.2345)] == ["1,234", "1.23"]
    assert [display.percent(0.012), display.percent(None)] == ["1.2 %", "–"]
