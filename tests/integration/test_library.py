"""`score_pairs` and `Scorer`: the engine for whoever calls it from a program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clip_scoring
from clip_scoring import Outcome, Reason, Record, Rejection, Score, Scorer, score_pairs
from clip_scoring.errors import SettingsInvalid, WeightsInvalid
from clip_scoring.sample.records import write_sample
from clip_scoring.settings.environment import S3Access


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sample")
    write_sample(made)
    return made


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    """Those that can be scored, and two that cannot."""
    names = sorted((folder / "images").iterdir())[:20]
    good = [Record(n, f"images/{each.name}", f"caption {n}") for n, each in enumerate(names)]
    return [*good[:7], Record(100, "images/none.png", "x"), *good[7:], Record(101, "", "x")]


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Iterator[Scorer]:
    with Scorer(image_root=folder, batch_size=4) as opened:
        yield opened


def test_outcomes_come_in_the_order_of_the_records(scorer: Scorer, records: list[Record]) -> None:
    found = list(scorer.score_pairs(records))
    assert [type(each) for each in found] == [
        *[Score] * 7, Rejection, *[Score] * 13, Rejection
    ]  # fmt: skip
    assert isinstance(found[7], Rejection)
    assert found[7].reason is Reason.OBJECT_NOT_FOUND
    # Each by itself has the same outcome, to the bit.
    alone = [outcome for each in records for outcome in scorer.score_pairs([each])]
    assert alone == found


def test_any_iterable_is_taken_lazily_and_in_the_callers_thread(
    scorer: Scorer, records: list[Record]
) -> None:
    from threading import current_thread

    taken: list[int] = []

    def endless() -> Iterator[Record]:
        number = 0
        while True:
            assert current_thread().name == "MainThread"
            taken.append(number)
            yield records[number % 5]
            number += 1

    outcomes = scorer.score_pairs(endless())
    assert all(isinstance(next(outcomes), Score) for _ in range(10))
    outcomes.close()
    assert len(taken) < 200


def test_an_error_of_the_iterable_reaches_the_caller_and_the_scorer_stays_usable(
    scorer: Scorer, records: list[Record]
) -> None:
    def broken() -> Iterator[Record]:
        yield from records[:3]
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(scorer.score_pairs(broken()))
    assert len(list(scorer.score_pairs(records))) == len(records)


def test_a_scorer_that_is_closed_opens_nothing_any_more(records: list[Record]) -> None:
    scorer = Scorer()
    scorer.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(scorer.score_pairs(records))


def test_nothing_in_is_nothing_out() -> None:
    assert list(score_pairs([])) == []


def test_images_may_come_as_bytes(scorer: Scorer, folder: Path, records: list[Record]) -> None:
    by_path = records[0]
    body = (folder / by_path.image_uri).read_bytes()
    by_bytes = Record("any key", "whatever", by_path.caption, image=body)
    assert list(scorer.score_pairs([by_bytes])) == list(scorer.score_pairs([by_path]))


def test_relative_paths_begin_at_the_current_folder(
    folder: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "images")
    record = Record(1, Path(records[0].image_uri).name, "a")
    (relative,) = score_pairs([record])
    (absolute,) = score_pairs([Record(1, str(folder / records[0].image_uri), "a")])
    assert isinstance(relative, Score)
    assert relative == absolute


def test_an_image_root_confines_paths(scorer: Scorer, tmp_path: Path) -> None:
    outside = tmp_path / "a.png"
    outside.write_bytes(b"x")
    for uri in (str(outside), "../../a.png", "file:///etc/passwd"):
        (found,) = scorer.score_pairs([Record(1, uri, "a")])
        assert isinstance(found, Rejection)
        assert found.reason is Reason.URI_FORBIDDEN, uri


def test_addresses_in_s3_are_read_with_the_environments_login(
    s3_client: Any, s3_access: S3Access, folder: Path, records: list[Record],
    monkeypatch: pytest.MonkeyPatch, scorer: Scorer,
) -> None:  # fmt: skip
    s3_client.create_bucket(Bucket="library")
    body = (folder / records[0].image_uri).read_bytes()
    s3_client.put_object(Bucket="library", Key="a.png", Body=body)
    for name, text in {
        "AWS_ENDPOINT_URL": s3_access.endpoint_url, "AWS_DEFAULT_REGION": s3_access.region,
        "AWS_ACCESS_KEY_ID": s3_access.access_key, "AWS_SECRET_ACCESS_KEY": s3_access.secret_key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, text or "")
    found = list(
        score_pairs([Record(1, "s3://library/a.png", "caption 0"), Record(2, "s3://no/b", "x")])
    )
    assert found[0] == next(scorer.score_pairs([records[0]]))
    assert isinstance(found[1], Rejection)
    assert found[1].reason is Reason.OBJECT_NOT_FOUND


def test_matrix_and_pairs_agree(scorer: Scorer, records: list[Record]) -> None:
    good = records[:5]
    images = [each for each in scorer.load(good) if not isinstance(each, Rejection)]
    matrix = scorer.similarities(images, [each.caption for each in good])
    assert matrix.shape == (5, 5)
    alone: list[Outcome] = list(scorer.score_pairs(good))
    diagonal = [each.similarity for each in alone if isinstance(each, Score)]
    np.testing.assert_allclose(np.diag(matrix), diagonal, atol=1e-6)


@pytest.mark.parametrize(
    ("choices", "kind", "said"),
    [
        ({"weights": "/nowhere"}, WeightsInvalid, "no such folder"),
        ({"weights": "openai/clip-vit-base-patch32"}, SettingsInvalid, "--revision and the 40 hex"),
        ({"device": "cuda:9"}, SettingsInvalid, "a GPU is required"),
        ({"device": "mps"}, SettingsInvalid, "no Apple GPU"),
        ({"colour": "red"}, SettingsInvalid, "unknown option 'colour'"),
        ({"dtype": "float16"}, SettingsInvalid, "needs a GPU"),
    ],
)
def test_wrong_choices_are_refused_when_it_is_called(
    choices: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        list(score_pairs([Record(1, "a", "b")], **choices))  # type: ignore[misc]


def test_the_package_offers_what_it_names_and_loads_torch_only_when_it_is_needed() -> None:
    for name in clip_scoring.__all__:
        assert getattr(clip_scoring, name) is not None
    with pytest.raises(AttributeError, match="colour"):
        clip_scoring.colour  # noqa: B018
    check = "import sys, clip_scoring, clip_scoring.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", check), check=False).returncode == 0


def test_a_call_that_is_given_up_leaves_no_process_behind(records: list[Record]) -> None:
    program = """
import os, sys
from pathlib import Path
from clip_scoring import Record, score_pairs
record = Record(1, sys.argv[1], "a")
outcomes = score_pairs(record for _ in range(10_000))
print(next(outcomes))
if sys.argv[2] == "close":
    outcomes.close()
    left = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    assert not left, left
"""
    path = str(Path(clip_scoring.__file__).parents[1] / "docs" / "images" / "runs.png")
    for way in ("close", "leave"):
        done = subprocess.run(
            (sys.executable, "-c", program, path, way),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, "Score(" in done.stdout) == (0, True), (way, done.stderr)
