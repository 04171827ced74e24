"""Which captions may pass, what identifies the input of a pair, and when a rejection is retried."""

from __future__ import annotations

from hashlib import md5

import pytest

from clip_scoring.records import Reason, Record, Rejection, screen_caption

KIB_16 = 16_384
TRANSIENT = {
    "dns_failed", "connect_failed", "timeout", "http_5xx", "http_429", "body_truncated",
    "object_slow_down", "image_decoder_crashed", "out_of_memory",
}  # fmt: skip


@pytest.mark.parametrize(
    "caption",
    [
        "a red circle",
        "0",
        " padded ",
        "一只猫",
        "🐈\u200d⬛",
        "e\u0301",
        "\u200b",
        "\ufeffwith a byte order mark",
        "two\nlines",
        "'; DROP TABLE clip.score; --",
        "\x01",
        "\ufffd",
        "\U0010fffd",
    ],
)
def test_a_caption_with_any_real_text_passes(caption: str) -> None:
    assert screen_caption(caption) is None


@pytest.mark.parametrize(
    "caption",
    ["", " ", "\t\r\n", "\x0b\x0c", "\x1c\x1f", "\x85", "\u00a0", "\u2003", "\u2028\u3000"],
)
def test_a_caption_of_white_space_only_is_empty(caption: str) -> None:
    assert screen_caption(caption) == Rejection(Reason.CAPTION_EMPTY)


@pytest.mark.parametrize(
    "caption",
    [
        "\x00",
        "a\x00b",
        " \x00 ",
        "\ud800",
        "a\udfff",
        "\udc80",
        "\ufffe",
        "a\uffffb",
        "\ude00\ud83d",
    ],
)
def test_text_that_no_database_takes_is_invalid(caption: str) -> None:
    found = screen_caption(caption)
    assert found is not None
    assert found.reason is Reason.CAPTION_INVALID


def test_an_invalid_caption_is_invalid_even_when_it_is_too_long_as_well() -> None:
    found = screen_caption("a" * KIB_16 + "\ud800")
    assert found is not None
    assert found.reason is Reason.CAPTION_INVALID


@pytest.mark.parametrize(
    "caption",
    ["a" * KIB_16, "é" * 8192, "猫" * 5461 + "a", "🐈" * 4096],
    ids=["one byte", "two bytes", "three bytes", "four bytes"],
)
def test_exactly_16_kib_of_utf8_pass(caption: str) -> None:
    assert screen_caption(caption) is None


@pytest.mark.parametrize(
    "caption",
    ["a" * 16_385, "é" * 8192 + "a", "猫" * 5461 + "é", "🐈" * 4096 + "a"],
    ids=["one byte", "two bytes", "three bytes", "four bytes"],
)
def test_one_byte_over_16_kib_is_too_long(caption: str) -> None:
    assert screen_caption(caption) == Rejection(Reason.CAPTION_TOO_LONG, "16385 bytes, limit 16384")


def test_white_space_over_the_limit_is_empty_rather_than_too_long() -> None:
    assert screen_caption(" " * 20_000) == Rejection(Reason.CAPTION_EMPTY)


def test_the_input_digest_is_the_md5_of_uri_unit_separator_and_caption() -> None:
    expected = md5(b"images/1.png\x1fa red circle", usedforsecurity=False).hexdigest()
    assert Record(1, "images/1.png", "a red circle").input_md5 == expected


def test_the_input_digest_of_nothing_is_that_of_the_separator_alone() -> None:
    assert Record(1, "", "").input_md5 == "ad1e41cebd43e64af1a28d4d70dc9e30"


def test_the_input_digest_is_taken_over_utf8() -> None:
    expected = md5(b"\xc3\xa9\x1f\xe7\x8c\xab", usedforsecurity=False).hexdigest()
    assert Record(1, "é", "猫").input_md5 == expected


def test_the_input_digest_does_not_confuse_where_the_uri_ends() -> None:
    assert Record(1, "ab", "c").input_md5 != Record(1, "a", "bc").input_md5


def test_the_input_digest_does_not_depend_on_the_key() -> None:
    assert Record(1, "u", "c").input_md5 == Record("other", "u", "c").input_md5


def test_a_lone_surrogate_still_has_an_input_digest() -> None:
    expected = md5(b"u\x1f\xed\xa0\x80", usedforsecurity=False).hexdigest()
    assert Record(1, "u", "\ud800").input_md5 == expected


@pytest.mark.parametrize("reason", sorted(TRANSIENT))
def test_a_transient_rejection_waits_an_hour(reason: str) -> None:
    assert Rejection(Reason(reason)).retry.first_wait_s == 3600


@pytest.mark.parametrize("reason", sorted(set(Reason) - TRANSIENT))
def test_a_permanent_rejection_is_never_retried(reason: str) -> None:
    assert Rejection(Reason(reason)).retry is None


@pytest.mark.parametrize(("asked", "expected"), [(None, 3600), (0, 3600), (60, 3600), (7200, 7200)])
def test_a_longer_wait_that_the_server_asks_for_is_honoured(
    asked: int | None, expected: int
) -> None:
    assert Rejection(Reason.HTTP_429, retry_after=asked).retry.first_wait_s == expected


def test_a_server_cannot_make_a_permanent_rejection_transient() -> None:
    assert Rejection(Reason.HTTP_404_410, retry_after=60).retry is None
