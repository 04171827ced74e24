"""A fingerprint changes with everything that can change a similarity."""

from __future__ import annotations

from dataclasses import fields, replace
from hashlib import sha256

import pytest

from clip_scoring.fingerprint import Dtype, Fingerprint, Tier

ONE = Fingerprint(
    weights_sha256="a" * 64,
    tokenizer_sha256="b" * 64,
    preprocessor_sha256="c" * 64,
    revision="main",
    tier=Tier.EXACT,
    resize_kernel="bicubic",
    dtype=Dtype.FLOAT32,
)


def test_the_digest_is_the_sha256_of_the_sorted_parts_as_compact_json() -> None:
    canonical = (
        '{"dtype":"float32",'
        f'"preprocessor_sha256":"{"c" * 64}",'
        '"resize_kernel":"bicubic","revision":"main","tier":"exact",'
        f'"tokenizer_sha256":"{"b" * 64}",'
        f'"weights_sha256":"{"a" * 64}"}}'
    )
    assert ONE.digest == sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("name", [each.name for each in fields(Fingerprint)])
def test_the_digest_changes_with_each_field(name: str) -> None:
    assert replace(ONE, **{name: "other"}).digest != ONE.digest


def test_values_that_change_places_change_the_digest() -> None:
    swapped = replace(ONE, weights_sha256="b" * 64, tokenizer_sha256="a" * 64)
    assert swapped.digest != ONE.digest


@pytest.mark.parametrize("dtype", [Dtype.FLOAT16, Dtype.BFLOAT16])
def test_another_number_format_is_another_fingerprint(dtype: Dtype) -> None:
    assert replace(ONE, dtype=dtype).digest != ONE.digest


def test_equal_fingerprints_have_equal_digests() -> None:
    assert replace(ONE).digest == ONE.digest


def test_the_parts_are_plain_text_by_field_name() -> None:
    assert ONE.parts() == {
        "weights_sha256": "a" * 64,
        "tokenizer_sha256": "b" * 64,
        "preprocessor_sha256": "c" * 64,
        "revision": "main",
        "tier": "exact",
        "resize_kernel": "bicubic",
        "dtype": "float32",
    }


def test_text_outside_ascii_is_escaped_in_the_canonical_json() -> None:
    escaped = sha256(
        (
            f'{{"dtype":"float32","preprocessor_sha256":"{"c" * 64}",'
            '"resize_kernel":"bicubic","revision":"\\u00e9","tier":"exact",'
            f'"tokenizer_sha256":"{"b" * 64}","weights_sha256":"{"a" * 64}"}}'
        ).encode()
    )
    assert replace(ONE, revision="é").digest == escaped.hexdigest()
