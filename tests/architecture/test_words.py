"""Names and texts use the words of docs/glossary.md, and a planted other word is found."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CODE = ("clip_scoring", "plugins", "dags", "stack", "benchmarks", "tests")
TEXTS = ("docs", "config", "clip_scoring", "plugins")
SUFFIXES = {".md", ".html", ".sql", ".yaml", ".toml"}

NAMES = {
    "take_stock": "refresh",
    "_?flaw(s|ed)?|_set_flaw": "parse_error",
    "held": "reserved, or the noun",
    "[Ll]eaving_word|_leaving_word|_left_behind|_without_words": "push_failure, pull_failures",
    "Left|tell_left": "Remaining, emit_remaining",
    r"_?told|tell_\w+": "message, emit_*, notify_*",
    "Measures": "StageMetrics",
    "Patience|patience|excused": "Deadline, deadline",
    "Pace|pace": "MinimumRate, minimum_rate",
    "Hosts|rests_until|on_trial|host_rest_seconds": "CircuitBreaker, open_until, half_open",
    "Passing|passing": "TransientFailure, failure",
    "afresh": "restart",
    "written_to|written_whole|write_whole": "output_path, atomic_writer, atomic_write",
    "worded|rooted|_?located|_placed": "apply_template, resolve_uri, parse_image_uri",
    "_?settle": "reconcile, or what happens",
    r"\w*upkeep\w*": "maintenance",
    "MemoryBook|BookOfRuns": "InMemoryRunStore, run store",
    "Verdict": "CheckStatus, Prediction, bottleneck",
    "judge_run": "finish_run",
    "beaten|foreign": "misranked, untrusted",
    "model_version": "fingerprint",
    r"bookmark\w*": "checkpoint",
    r"(\w+_)?chunks?|chunk_\w+": "shard, batch, or block",
    "unprocessed|todo": "pending",
}
"""Names of Python that are not to be used, each with what to write instead."""

PRODUCT = ("clip_scoring", "plugins", "dags", "stack")
NAMELESS = {"each", "found"}
"""Names that say nothing, where in the product a thing has one."""

DEVICE_BATCH = re.compile("_?(most|image|caption)_rows")
"""In `clip_scoring/models/`, where `device_batch_size` is meant."""

PHRASES = {
    r"is no (text|folder|directory|port|list|path|number|file)\b": "must be a string, …",
    r"in the hands of others": "claimed by other workers",
    r"at most so (many|much)": "maximum number of",
    r"was begun (on|otherwise)": "device; started with different options",
    r"book of runs": "run store",
    r"\btake(s|n)? stock\b": "refresh",
    r"\bflaw(s|ed)?\b": "parse error",
    r"\bupkeep\b": "maintenance",
    r"\bafresh\b": "again, from the start",
    r"\bbookmark(s|ed)?\b": "checkpoint",
    r"\bmodel versions?\b": "fingerprint",
    r"\bunprocessed\b": "pending",
    r"\bchunks?\b": "shard, batch, or block",
    r"\bbroken world\b": "errors",
}
"""Words that are not to be used in texts, each with what to write instead."""

PICTURES = "clip_scoring/sample/bad_records.py"
"""Where a chunk is what the format PNG calls so, as in tests."""
HISTORY = (
    "docs/adr/",
    "clip_scoring/database/migrations/",
    "tests/integration/test_migrations.py",
)
"""What was once written and stays."""
OWN = "tests/architecture/test_words.py"


def files(trees: tuple[str, ...], suffixes: set[str]) -> Iterator[tuple[str, str]]:
    """Names and texts of files, without history and this file."""
    trees_of = [path for tree in trees for path in sorted((REPOSITORY / tree).rglob("*"))]
    for path in [*trees_of, *REPOSITORY.glob("*.md")]:
        name = path.relative_to(REPOSITORY).as_posix()
        skipped = name.startswith(HISTORY) or name in {OWN, "docs/glossary.md", "CHANGELOG.md"}
        if path.suffix in suffixes and not skipped:
            yield name, path.read_text(encoding="utf-8")


def names_in(code: str) -> Iterator[tuple[int, str]]:
    """Lines and identifiers of Python code, with those inside f-strings."""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string
        elif token.type == tokenize.STRING and re.match("[rR]?[fF]", token.string):
            for field in re.findall(r"{([^{}]*)", token.string):
                yield from ((token.start[0], word) for word in re.findall(r"[A-Za-z_]\w*", field))


def texts_in(code: str) -> Iterator[tuple[int, str]]:
    """Lines and strings of Python code, docstrings too."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@cache
def better(used: str) -> str | None:
    """What to write instead of a name, None where it may stay."""
    return next((better for word, better in NAMES.items() if re.fullmatch(word, used)), None)


def banned_names(name: str, code: str) -> list[str]:
    """Names of a Python file that are banned, with the line and what to write."""
    pictures = name.startswith(("tests", PICTURES))
    return [
        f"{name}:{line}: {used}: write {better(used)}"
        for line, used in names_in(code)
        if better(used) and not (pictures and "chunk" in used)
    ]


def banned_phrases(name: str, text: str, first: int = 1) -> list[str]:
    """Phrases of a text that are banned, with the line and what to write."""
    return [
        f"{name}:{first + text.count(chr(10), 0, used.start())}: {used.group()}: write {better}"
        for phrase, better in PHRASES.items()
        for used in re.finditer(phrase, text, re.IGNORECASE)
    ]


def test_names_in_code_are_those_of_the_glossary() -> None:
    assert [line for file in files(CODE, {".py"}) for line in banned_names(*file)] == []


def test_things_of_the_product_are_called_by_their_names() -> None:
    nameless = [
        f"{name}:{line}: {used}: what is it?"
        for name, code in files(PRODUCT, {".py"})
        for line, used in names_in(code)
        if used in NAMELESS
    ]
    assert nameless == []


def test_texts_in_code_are_in_the_words_of_the_glossary() -> None:
    product = ("clip_scoring", "plugins", "dags")
    assert [
        line
        for name, code in files(product, {".py"})
        for first, text in texts_in(code)
        for line in banned_phrases(name, text, first)
    ] == []


def test_documents_templates_and_sql_are_in_the_words_of_the_glossary() -> None:
    assert [line for file in files(TEXTS, SUFFIXES) for line in banned_phrases(*file)] == []


def test_a_device_batch_is_not_called_rows() -> None:
    calling = {
        name
        for name, code in files(("clip_scoring/models",), {".py"})
        if any(DEVICE_BATCH.fullmatch(word) for _, word in names_in(code))
    }
    assert calling == set(), "write device_batch_size"


@pytest.mark.parametrize(
    ("planted", "line"),
    [
        ("def planted():\n    take_stock()", "planted.py:2: take_stock: write refresh"),
        ("class MemoryBook: ...", "planted.py:1: MemoryBook: write InMemoryRunStore, run store"),
        ("x = f'{told}'", "planted.py:1: told: write message, emit_*, notify_*"),
        ("def f(chunk_size): ...", "planted.py:1: chunk_size: write shard, batch, or block"),
    ],
)
def test_a_planted_name_is_found_with_what_to_write(planted: str, line: str) -> None:
    assert banned_names("planted.py", planted) == [line]


def test_a_planted_phrase_is_found_with_what_to_write() -> None:
    assert banned_phrases("docs/planted.md", "One\nModel version 3\n") == [
        "docs/planted.md:2: Model version: write fingerprint"
    ]


def test_every_banned_name_that_the_glossary_names_is_there_too() -> None:
    glossary = (REPOSITORY / "docs/glossary.md").read_text(encoding="utf-8")
    for word in ("chunk", "bookmark", "model version", "unprocessed", "held", "flaw", "upkeep"):
        assert re.search(rf"\| [^|]*\b{word}\b[^|]* \|$", glossary, re.MULTILINE), word
