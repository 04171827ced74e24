"""Records, their outcomes, and the pure rules that decide which captions can be scored."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from hashlib import md5

Key = int | str
"""Identity of a record in its source: an integer, or text ordered by its code points."""

CAPTION_LIMIT_BYTES = 16 * 1024
_INVALID_TEXT = re.compile("[\x00\ud800-\udfff\ufffe\uffff]")


class Reason(StrEnum):
    """Why a pair could not be scored."""

    RECORD_INVALID = "record_invalid"
    CAPTION_EMPTY = "caption_empty"
    CAPTION_INVALID = "caption_invalid"
    CAPTION_TOO_LONG = "caption_too_long"
    URI_INVALID = "uri_invalid"
    URI_FORBIDDEN = "uri_forbidden"
    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    TIMEOUT = "timeout"
    HTTP_5XX = "http_5xx"
    HTTP_429 = "http_429"
    BODY_TRUNCATED = "body_truncated"
    HTTP_401_403 = "http_401_403"
    HTTP_404_410 = "http_404_410"
    HTTP_4XX = "http_4xx"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    OBJECT_NOT_FOUND = "object_not_found"
    OBJECT_FORBIDDEN = "object_forbidden"
    OBJECT_SLOW_DOWN = "object_slow_down"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_MANY_PIXELS = "image_too_many_pixels"
    IMAGE_BAD_DIMENSIONS = "image_bad_dimensions"
    IMAGE_FORMAT_FORBIDDEN = "image_format_forbidden"
    IMAGE_UNDECODABLE = "image_undecodable"
    IMAGE_DECODER_CRASHED = "image_decoder_crashed"
    OUT_OF_MEMORY = "out_of_memory"
    NON_FINITE = "non_finite"


@dataclass(frozen=True, slots=True)
class Retry:
    """When a rejection is tried again: the wait doubles with each attempt, up to a week."""

    first_wait_s: int
    attempts: int
    """After this number of attempts only `rescore = rejected` or changed input tries again."""


_HOUR = 3600
RETRIES: dict[Reason, Retry] = {
    Reason.DNS_FAILED: Retry(_HOUR, 5),
    Reason.CONNECT_FAILED: Retry(_HOUR, 8),
    Reason.TIMEOUT: Retry(_HOUR, 8),
    Reason.HTTP_5XX: Retry(_HOUR, 8),
    Reason.HTTP_429: Retry(_HOUR, 10),
    Reason.BODY_TRUNCATED: Retry(_HOUR, 5),
    Reason.OBJECT_SLOW_DOWN: Retry(_HOUR, 10),
    Reason.IMAGE_DECODER_CRASHED: Retry(_HOUR, 2),
    Reason.OUT_OF_MEMORY: Retry(_HOUR, 2),
}
"""Reasons that may pass by themselves; absent ones wait for changed input."""


@dataclass(frozen=True, slots=True)
class Score:
    """The pair was scored: `similarity` is the raw cosine in [-1, 1], exact in float32."""

    similarity: float
    caption_truncated: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """The pair cannot be scored; `detail` is one redacted line for a person."""

    reason: Reason
    detail: str = ""
    retry_after: int | None = None
    """Seconds that the remote side asked us to wait, where it did."""

    @property
    def retry(self) -> Retry | None:
        """When to try again, or None where only changed input helps."""
        retry = RETRIES.get(self.reason)
        return retry and replace(retry, first_wait_s=max(retry.first_wait_s, self.retry_after or 0))


@dataclass(frozen=True, slots=True, init=False)
class Record:
    """One image–caption pair; `key` is unique and totally ordered in its source."""

    key: Key
    image_uri: str
    caption: str
    image: bytes | None = None
    """The encoded image, where the source brings it along; the address then only names it."""
    parse_error: Rejection | None = None
    """Why the source could not make a pair of this record, for instance a broken line."""
    name: str | None = None
    """Its identity among outcomes, where that is not its place in the source."""
    computed_md5: str | None = field(default=None, init=False, compare=False)
    """`input_md5` by the database that compares with it, whose encoding need not be ours."""

    def __init__(
        self,
        key: Key,
        image_uri: str,
        caption: str,
        image: bytes | None = None,
        parse_error: Rejection | None = None,
        name: str | None = None,
    ) -> None:
        """As dataclass would write it, but slot by slot: there are millions of records."""
        _set_key(self, key)
        _set_image_uri(self, image_uri)
        _set_caption(self, caption)
        _set_image(self, image)
        _set_parse_error(self, parse_error)
        _set_name(self, name)
        _set_computed_md5(self, None)

    @classmethod
    def of_row(cls, key: Key, image_uri: str, caption: str, input_md5: str) -> Record:
        """A record of a table, with the digest that the database itself computes of it."""
        record = cls(key, image_uri, caption)
        _set_computed_md5(record, input_md5)
        return record

    @property
    def record_key(self) -> str:
        """Under what its outcome is stored."""
        return str(self.key) if self.name is None else self.name

    @property
    def input_md5(self) -> str:
        """32 hex digits that change when the image's address or the caption does.

        Equals PostgreSQL's `md5(image_uri || E'\\x1f' || caption)`. It detects change only; it
        guards nothing, so MD5 serves.
        """
        if self.computed_md5 is not None:
            return self.computed_md5
        text = f"{self.image_uri}\x1f{self.caption}".encode("utf-8", "surrogatepass")
        return md5(text, usedforsecurity=False).hexdigest()


(
    _set_key, _set_image_uri, _set_caption, _set_image, _set_parse_error, _set_name,
    _set_computed_md5,
) = (getattr(Record, slot.name).__set__ for slot in fields(Record))  # fmt: skip


Outcome = Score | Rejection


def screen_caption(caption: str) -> Rejection | None:
    """Refuse captions that no tokenizer or database should ever see; None when it may pass.

    Invalid are NUL, lone surrogates and the noncharacters U+FFFE and U+FFFF, which are what text
    decoded with the wrong byte order looks like.
    """
    if (not caption.isascii() or "\0" in caption) and _INVALID_TEXT.search(caption):
        return Rejection(Reason.CAPTION_INVALID, "NUL, lone surrogate or noncharacter")
    if not caption.strip():
        return Rejection(Reason.CAPTION_EMPTY)
    if len(caption) * 4 > CAPTION_LIMIT_BYTES and (
        (size := len(caption.encode())) > CAPTION_LIMIT_BYTES
    ):
        return Rejection(Reason.CAPTION_TOO_LONG, f"{size} bytes, limit {CAPTION_LIMIT_BYTES}")
    return None
