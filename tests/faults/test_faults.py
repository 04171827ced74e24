"""A short fault run of the product is spotless; the same under naive rules is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.harness import Trial, try_faults
from tests.faults.mutants import Rule
from tests.faults.nemesis import Kind, schedule
from tests.faults.server import RestartableServer

SEED = 20260102


@pytest.fixture(scope="module")
def faulty_server() -> Iterator[RestartableServer]:
    """A server of its own: the others' may not be restarted."""
    with RestartableServer.temporary() as server:
        yield server


def test_25_faults_of_every_kind_lose_nothing_and_count_nothing_twice(
    faulty_server: RestartableServer,
) -> None:
    trial = Trial(SEED, faults=25, records=3000, shards=6, pause_s=0.002, limit_s=120)
    report = try_faults(faulty_server, trial)
    assert not report.red, str(report)
    assert set(report.faults) == set(Kind)


def test_workers_that_are_stopped_and_woken_after_their_twin_has_committed_betray_naive_commits(
    faulty_server: RestartableServer,
) -> None:
    trial = Trial(
        SEED,
        faults=6,
        records=1200,
        shards=2,
        pause_s=0.01,
        rule=Rule.NAIVE,
        kinds=(Kind.TWIN,),
        limit_s=120,
    )
    report = try_faults(faulty_server, trial)
    assert report.figures["counter drift, rows"] > 0, str(report)
    assert report.figures["offsets gone back"] > 0, str(report)


def test_equal_seeds_draw_equal_faults_and_every_kind_comes() -> None:
    drawn = schedule(7, count=40, records=5000, kinds=tuple(Kind))
    assert drawn == schedule(7, count=40, records=5000, kinds=tuple(Kind))
    assert drawn != schedule(8, count=40, records=5000, kinds=tuple(Kind))
    assert {fault.kind for fault in drawn} == set(Kind)
    assert [fault.after for fault in drawn] == sorted(fault.after for fault in drawn)
