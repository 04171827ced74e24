"""Each known way to break the guarantees makes tests of this suite fail, and none other does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mutants_plugin import MUTANTS

REPOSITORY = Path(__file__).parents[2]
PASSED, FAILED = 0, 1
SCORING = "tests/integration/test_scoring.py::"
RACES = "tests/integration/test_races.py::"
CAPTIONS = "tests/hostile/test_captions.py::"
KILLERS = {
    "naive_commit": SCORING + "test_a_late_writer_changes_nothing",
    "state_guard": SCORING + "test_a_late_writer_changes_nothing",
    "counter_outside": RACES
    + "test_a_worker_that_dies_right_after_its_commit_has_counted_what_it_wrote",
    "unsorted_upsert": RACES
    + "test_outcomes_are_locked_in_the_order_of_their_keys_however_a_batch_is_ordered",
    "no_nul_screen": CAPTIONS + "test_a_caption_that_no_database_takes_costs_its_own_record_only",
}


def run_tests(mutant: str, *tests: str) -> subprocess.CompletedProcess[str]:
    """The tests against the product as the mutant leaves it."""
    environment = {name: each for name, each in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(
        (sys.executable, "-m", "pytest", "-x", "-q", "-p", "tests.faults.mutants_plugin", *tests),
        cwd=REPOSITORY,
        env={**environment, "MUTANT": mutant},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )


def test_every_mutant_has_a_test_that_kills_it() -> None:
    assert set(KILLERS) == set(MUTANTS) - {"none"}


def test_unbroken_all_of_these_tests_pass() -> None:
    ended = run_tests("none", *sorted(set(KILLERS.values())))
    assert ended.returncode == PASSED, ended.stdout + ended.stderr


@pytest.mark.parametrize("mutant", KILLERS)
def test_the_suite_fails_with(mutant: str) -> None:
    ended = run_tests(mutant, KILLERS[mutant])
    assert ended.returncode == FAILED, ended.stdout + ended.stderr
    assert f"FAILED {KILLERS[mutant]}" in ended.stdout, ended.stdout
