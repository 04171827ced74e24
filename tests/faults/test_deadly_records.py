"""A record that kills whoever decodes it costs itself only, wherever in its shard it stands."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.warm import WarmCommand
from tests.support.world import World

REPOSITORY = Path(__file__).parents[2]
RECORDS = 48


@pytest.mark.parametrize("deadly", [{7, 8}, {48}], ids=str)
def test_a_record_that_kills_its_decoder_is_rejected_and_the_rest_is_scored(
    world: World,
    database: str,
    tmp_path: Path,
    sources_file: Callable[[Path], Path],
    deadly: set[int],
) -> None:
    for key in range(1, RECORDS + 1):
        if key in deadly:
            (tmp_path / f"{key}.png").write_bytes(b"DEADLY %d" % key)
        else:
            Image.new("RGB", (40, 40), (5 * key, 0, 0)).save(tmp_path / f"{key}.png")
    world.add({key: (f"{key}.png", f"picture {key}") for key in range(1, RECORDS + 1)})
    world.watch_offsets()
    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path(__file__).parent / 'deadly'}:{REPOSITORY}",
        "CLIP_SCORING_DATABASE_URL": database,
        "CLIP_SCORING_SOURCES": str(sources_file(tmp_path)),
    }
    command = WarmCommand(
        "run", "--day", "2026-01-01", "--run-key", "deadly", "--batch-size", "8",
        env=environment, folder=tmp_path,
    )  # fmt: skip
    ended = command.ended()
    command.close()
    assert ended.returncode == 0, ended.stderr
    assert world.sql("SELECT record_key::int, reason FROM clip.rejection ORDER BY 1") == [
        (key, "image_decoder_crashed") for key in sorted(deadly)
    ]
    assert world.sql("SELECT count(*) FROM clip.score") == [(RECORDS - len(deadly),)]
    assert world.sql("SELECT state, scored, rejected FROM clip.run") == [
        ("succeeded", RECORDS - len(deadly), len(deadly))
    ]
    (measures,) = world.sql("SELECT (metrics->'decoder_crashes')::int FROM clip.run")
    assert measures == (2 * len(deadly),)
    world.check_invariants()
