"""The scaling model: arithmetic by hand, and a page that is what the kept figures make of it."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from benchmarks import row_size
from benchmarks.figures import RESULTS
from benchmarks.pages import DOCS
from benchmarks.scaling.__main__ import main
from benchmarks.scaling.inputs import INPUTS, Assumptions, Measured, measured
from benchmarks.scaling.model import (
    CONNECTIONS_A_WORKER,
    CONNECTIONS_BESIDE,
    MOST_SHARDS,
    Model,
    limits,
)
from benchmarks.scaling.pages import PAGES, filled
from benchmarks.scaling.tables import SHARD_WANTED, TABLES, table
from benchmarks.scaling.towers import gflop_a_pair
from clip_scoring.nightly import pages, run
from clip_scoring.runs import RunRequest
from clip_scoring.shards import shard_size

DATABASE_PAGE = DOCS / "large-database.md"
ROUND = {
    "load 640x480": 400.0, "load mix": 200.0, "fast 640x480": 300.0, "fast mix": 120.0,
    "exact 640x480": 150.0, "exact mix": 30.0, "float32, 2 cores": 10.0, "float32": 8.0,
    "int8": 16.0, "commit": 20_000.0, "read": 10.0, "judge": 5.0, "plan": 4.0,
    "plan settled": 15.0, "score bytes": 200.0, "log bytes": 300.0,
}  # fmt: skip
"""Figures that are easy to reckon with."""


def model(**given: Any) -> Model:
    found = {name: Measured("made up", name, value, "") for name, value in ROUND.items()}
    return Model(found, Assumptions(**given))


def rows(name: str, *millions: float, **given: Any) -> Mapping[str, list[str]]:
    """A table by what its rows are called."""
    lines = table(name, model(**given), millions).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {first: others for first, *others in cells}


def test_the_page_shows_what_the_kept_figures_and_the_model_make_today() -> None:
    shown: list[str] = []
    for page in PAGES:
        text = page.read_text()
        assert filled(text) == text, f"{page.name}: run `python -m benchmarks.scaling --write`"
        shown += re.findall(r"<!-- scaling: (\w+) -->", text)
    assert sorted(shown) == sorted(TABLES)


def test_a_new_measurement_makes_the_page_out_of_date(tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results)
    kept = json.loads((results / "planning.json").read_text())
    for each in kept["figures"]:
        each["value"] *= 2
    (results / "planning.json").write_text(json.dumps(kept))
    page = PAGES[0].read_text()
    assert filled(page, RESULTS) == page != filled(page, results)


def test_every_input_is_a_figure_of_a_file_that_is_kept() -> None:
    assert set(measured(RESULTS, 64)) == set(INPUTS) == set(ROUND)
    assert measured(RESULTS, 1000)["commit"].what == "commit new outcomes, 1000 a batch"


def test_an_input_that_nobody_measured_is_named_with_the_command_that_measures_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(LookupError, match=r"640x480: isolated.*python -m benchmarks loading"):
        measured(tmp_path, 256)


def test_the_work_of_a_pair_is_what_the_shapes_of_the_towers_say() -> None:
    # ViT-B/32: 12 layers * 50 tokens * (24*768² + 4*768*50), 49 patches * 2*3*32²*768;
    # text: 12 * 10 * (24*512² + 4*512*10).
    image = 12 * 50 * (24 * 589_824 + 153_600) + 49 * 6 * 1024 * 768
    text = 12 * 10 * (24 * 262_144 + 20_480)
    assert gflop_a_pair("ViT-B/32", 10) == pytest.approx((image + text) / 1e9, rel=1e-12)
    assert round(gflop_a_pair("ViT-B/32", 77), 1) == 14.8  # 8.8 and 6.0, as is published
    assert round(gflop_a_pair("ViT-L/14", 77)) == 175  # 162 and 13


def test_rates_of_a_core_are_those_of_two_busy_cores_halved() -> None:
    assert model().loading("fast", "640x480") == 200
    assert model().loading("exact", "640x480") == 100  # half as fast, as decode() alone is
    assert model().loading("exact", "mix") == 25  # 100 * 30 / 120
    assert model().cpu("float32") == 5
    assert model().cpu("int8") == 10  # twice, as it is on one core


def test_a_gpu_is_as_fast_as_its_towers_or_as_its_cores_load() -> None:
    # 989 TFLOPS * 0.3 = 296.7, by 10.0 GFLOP a pair, is some 29,500; 16 cores * 100 images/s.
    work = gflop_a_pair("ViT-B/32", 16)
    assert model().gpu_towers("ViT-B/32") == pytest.approx(296_700 / work)
    assert model().gpu("ViT-B/32") == 1600
    assert model(pictures="640x480").gpu("ViT-B/32") == 3200
    assert model(cores_a_gpu=1000).gpu("ViT-B/32") == pytest.approx(296_700 / work)
    by = {(row[0], row[1]): row[6] for row in TABLES["gpus"](model(), ())}
    assert by["T4", "ViT-L/14"] == "towers" and by["T4", "ViT-B/32"] == "loading"


def test_288_million_pairs_in_eight_hours_need_ten_thousand_a_second() -> None:
    needed = {name: cell for name, (cell,) in rows("night", 288).items()}
    gpu = "H200 with 16 cores each, ViT-B/32: **calculated, not measured**"
    assert needed["pairs/s"] == "10,000"
    assert needed["CPU cores, loading alone, tier fast, 640x480"] == "50"
    assert needed["CPU cores, loading alone, tier exact, mix"] == "400"
    assert needed["CPU cores without a GPU, ViT-B/32, float32"] == "2,000"
    assert needed["CPU cores without a GPU, ViT-B/32, int8"] == "1,000"
    assert needed[gpu] == "7"  # 10,000 / 1,600 = 6.25
    assert needed["network for images, Gbit/s"] == "12"  # 10,000 * 150 kB * 8
    assert needed["commits/s"] == "39.1"  # 10,000 / 256
    assert needed["share of what one writer can do"] == "50.0%"
    assert needed["connections of workers without a GPU, int8"] == "2,000"
    assert needed["connections of workers with a GPU, ViT-B/32"] == "14"
    # 10,000 * (1 / 20,000 + 10 s / 1,000,000) = 0.6 busy, ten times that, and six more.
    assert needed["connections from pgbouncer to PostgreSQL"] == "12"


def test_all_day_is_three_times_a_night_of_eight_hours() -> None:
    assert rows("day", 288)["pairs/s"] == ["3,330"]
    assert rows("night", 288, night_hours=24.0) == rows("day", 288)


def test_disk_and_planning_grow_with_the_pairs_of_a_day() -> None:
    grown = rows("every_day", 1, 100)
    assert grown["shards"] == ["98", "1,000"]
    assert grown["pairs of a shard"] == ["10,240", "100,096"]  # whole batches of 256
    assert grown["planning, nothing but the day in the source, s"] == ["4", "400"]
    assert grown["planning, 30 days in the source, s"] == ["150", "15,000"]  # 5 s a million
    assert grown["judging the run, s"] == ["5", "500"]
    assert grown["`clip.score`, GB more a day"] == ["0.2", "20"]
    assert grown["`clip.score`, GB more a year"] == ["73", "7,300"]
    assert grown["write-ahead log, GB a day"] == ["0.3", "30"]


def test_limits_come_in_the_order_in_which_they_are_met() -> None:
    found = [(each.part.split(",")[0], round(each.pairs / 1e6, 3)) for each in limits(model())]
    assert found == [
        ("the machine of the figures", 0.288),  # 10 pairs/s * 28,800 s
        ("planning", 12.0),  # 1,800 s / 5 s a million / 30 days
        ("connections without pgbouncer", 12.96),  # 91 / 2 = 45 workers * 10 * 28,800
        ("1", 288.0),  # a thousand shards * 10 * 28,800
        ("judging one run", 360.0),  # 1,800 s / 5 s a million
        ("planning", 450.0),  # 1,800 s / 4 s a million
        ("one writer", 576.0),  # 20,000 * 28,800
    ]
    assert rows("every_day", 0.1, 12.5, 300)["limits that are passed, by number"] == [
        "none", "1, 2", "1, 2, 3, 4",
    ]  # fmt: skip


def test_costs_are_prices_times_hours_of_work() -> None:
    spent = {name: cell for name, (cell,) in rows("costs", 288, gpu_price=3.2).items()}
    # 288 million / 5 pairs/s = 16,000 core-hours at 0.04; / 1,600 = 50 GPU-hours at 3.20.
    assert spent["a day, CPU cores, ViT-B/32, float32"] == "640"
    assert spent["a day, CPU cores, ViT-B/32, int8"] == "320"
    assert spent["a day, H200, ViT-B/32: **calculated, not measured**"] == "160"
    # 288 million * 365 * 200 bytes = 21,024 GB at 0.10.
    assert spent["a month, the disk for a year of `clip.score`"] == "2,100"


def test_no_figure_of_a_gpu_goes_without_saying_that_it_was_calculated() -> None:
    for name in ("night", "day", "costs"):
        of_gpus = [each for each in rows(name, 1) if "H200" in each]
        assert len(of_gpus) == 2
        assert all("**calculated, not measured**" in each for each in of_gpus)
    assert table("gpus", model()).startswith("| GPU, calculated |")


def test_every_assumption_has_an_option_and_changes_what_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([])
    usual = capsys.readouterr().out
    changed = {"gpu": "T4", "pictures": "640x480", "batch_size": "1000"}
    for each in fields(Assumptions):
        value = changed.get(each.name) or f"{2 * getattr(Assumptions(), each.name)}"
        main([f"--{each.name.replace('_', '-')}", value])
        printed = capsys.readouterr().out
        differing = [
            line for line in printed.splitlines()
            if line not in usual and each.metadata["what"] not in line
        ]  # fmt: skip
        assert differing, f"{each.name} changes nothing but its own row"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--batch-size", "128"], "no figure 'commit new outcomes, 128 a batch'"),
        (["--gpu", "abacus"], "invalid choice"),
        (["--night-hours", "0"], "night_hours: 0 is not above 0"),
    ],
)
def test_an_assumption_that_makes_no_sense_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert complaint in capsys.readouterr().err


def test_pgbouncer_as_the_page_sets_it_up_suffices_for_300_million_a_night() -> None:
    (settings,) = re.findall(
        r"^```ini\n(.*?)^```$", DATABASE_PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    read = ConfigParser()
    read.read_string(settings)
    kept = Model(measured(RESULTS, Assumptions().batch_size), Assumptions())
    rate = 300e6 / 8 / 3600
    assert read["pgbouncer"]["pool_mode"] == "transaction"
    assert read.getint("pgbouncer", "max_client_conn") > 2 * rate / kept.cpu("int8")
    assert read.getint("pgbouncer", "default_pool_size") >= kept.pool(rate)


def test_what_the_model_says_of_the_code_is_so() -> None:
    defaults = {each.name: each.default for each in fields(RunRequest)}
    assert defaults["shard_size"] == SHARD_WANTED
    size = shard_size(300_000_000, wanted=SHARD_WANTED, batch_size=1)
    assert 300_000_000 / size == MOST_SHARDS
    assert f"kept={CONNECTIONS_A_WORKER})" in inspect.getsource(run)
    assert CONNECTIONS_BESIDE == pages._CONNECTIONS + 2


def test_a_row_of_the_kept_sizes_holds_more_than_its_indexes() -> None:
    figures = {
        each["what"]: each["value"]
        for each in json.loads((RESULTS / "row_size.json").read_text())["figures"]
    }
    for table_name in (row_size.SCORE, row_size.RECORD):
        assert 0 < figures[f"{table_name}: its indexes"] < figures[table_name]
