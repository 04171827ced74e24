"""plan, run and status by hand: what they print, and what they leave in the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clip_scoring import cli
from tests.support.world import World

Command = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def command(
    world: World,
    database: str,
    tmp_path: Path,
    sources_file: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """`clip-scoring …` over ten records, of which the image of number 3 is missing."""
    world.add({key: (f"{key}.png", f"picture {key}") for key in range(1, 11)})
    world.add({11: ("http://127.0.0.1:9/", "refused")})
    for key in set(range(1, 11)) - {3}:
        Image.new("RGB", (30, 30), (20 * key, 0, 0)).save(tmp_path / f"{key}.png")
    monkeypatch.setenv("CLIP_SCORING_DATABASE_URL", database)
    monkeypatch.setenv("CLIP_SCORING_SOURCES", str(sources_file(tmp_path)))

    def run(*arguments: str) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = cli.main(arguments)
        printed = capsys.readouterr()
        return code, (printed.out if code == 0 else printed.err).splitlines()

    return run


DAY = ("--day", "2026-01-01", "--batch-size", "2", "--shard-size", "4")


def test_a_dry_run_counts_and_plans_nothing(command: Command, world: World) -> None:
    code, [line] = command("plan", *DAY, "--dry-run")
    assert (code, line.rpartition(", fingerprint ")[0]) == (
        0,
        "11 records in 3 shards of up to 4 would be planned, 0 reserved by other runs; "
        "from the beginning to 2026-01-02 00:00 UTC",
    )
    assert world.sql("SELECT count(*) FROM clip.run") == [(0,)]


def test_plan_prints_the_shards_and_run_works_them(command: Command, world: World) -> None:
    code, lines = command("plan", *DAY, "--run-key", "mine")
    assert (code, lines) == (
        0,
        [
            "run mine: 11 records in 3 shards, 0 reserved by other runs",
            "shard 0: [1, 5): 4 records",
            "shard 1: [5, 9): 4 records",
            "shard 2: [9, 12): 3 records",
        ],
    )
    code, lines = command("run", *DAY, "--run-key", "mine")
    assert lines[-1] == "planned 11  scored 9  rejected 2  pending 0"
    assert world.sql("SELECT count(*) FROM clip.run") == [(1,)]
    world.check_invariants()


def test_a_run_by_several_processes_scores_each_record_once(command: Command, world: World) -> None:
    code, lines = command("run", *DAY, "--run-key", "mine", "--processes", "2")
    assert (code, lines[-1]) == (0, "planned 11  scored 9  rejected 2  pending 0")
    assert world.sql("SELECT count(*), sum(scored + rejected) FROM clip.shard") == [(3, 11)]
    world.check_invariants()


def test_work_scores_the_shards_of_a_planned_run_and_leaves_the_judging(
    command: Command, world: World
) -> None:
    command("plan", *DAY, "--run-key", "mine")
    code, lines = command("work", "--run-key", "mine")
    assert (code, len(lines)) == (0, 3)
    assert all(line.startswith("shard done: scored ") for line in lines)
    assert world.sql("SELECT state FROM clip.run") == [("running",)]
    assert command("work", "--run-key", "mine") == (0, [])


def test_work_on_a_run_that_nobody_planned_is_refused(command: Command) -> None:
    assert command("work", "--run-key", "none") == (
        2, ["clip-scoring: no run was planned under none"]
    )  # fmt: skip


def test_status_shows_runs_and_rejections_and_when_they_are_due(command: Command) -> None:
    command("run", *DAY, "--run-key", "mine")
    code, lines = command("status")
    assert code == 0
    head, run, blank, *rejections = lines
    assert head.split()[:4] == ["state", "source", "trigger", "planned"]
    assert run.split()[:8] == ["succeeded", "records", "cli", "11", "0", "9", "2", "3/3"]
    assert run.endswith("mine")
    assert blank == ""
    by_reason = {line.split()[1]: line.split() for line in rejections[1:]}
    assert set(by_reason) == {"object_not_found", "uri_forbidden"}
    assert by_reason["object_not_found"][2:] == ["1", "0", "0", "never", "1"]


def test_status_says_when_a_retry_falls_due(command: Command, world: World) -> None:
    command("run", *DAY, "--run-key", "mine")
    world.sql("UPDATE clip.rejection SET next_attempt_at = '2126-01-01 03:04:05+00' "
              "WHERE reason = 'uri_forbidden'")  # fmt: skip
    _, lines = command("status")
    assert lines[-1].split()[3:] == ["0", "1", "2126-01-01", "03:04:05", "1"]
    world.sql("UPDATE clip.rejection SET next_attempt_at = now() WHERE reason = 'uri_forbidden'")
    _, lines = command("status")
    assert lines[-1].split()[3:] == ["1", "0", "now", "1"]


def test_status_of_one_run_shows_its_shards(command: Command) -> None:
    command("run", *DAY, "--run-key", "mine")
    _, lines = command("status", "--run-key", "mine")
    assert [line.split()[:8] for line in lines[1:4]] == [
        ["0", "done", "[1,", "5)", "5", "1", "1", "4"],
        ["1", "done", "[5,", "9)", "9", "1", "1", "4"],
        ["2", "done", "[9,", "12)", "12", "1", "1", "3"],
    ]


def test_status_of_a_run_that_nobody_planned_is_refused(command: Command) -> None:
    assert command("status", "--run-key", "none") == (
        2, ["clip-scoring: no run was planned under none"]
    )  # fmt: skip


def test_status_calls_a_run_without_a_live_worker_stalled(command: Command, world: World) -> None:
    command("plan", *DAY, "--run-key", "mine")
    world.sql("UPDATE clip.shard SET lease_until = now() - interval '1 minute'")
    _, lines = command("status")
    assert lines[1].split()[0] == "stalled"


def test_a_tripped_gate_fails_the_command_and_names_the_figure(
    command: Command, world: World
) -> None:
    code, lines = command("run", *DAY, "--max-rejection-rate", "0.1")
    assert (code, lines[-1]) == (
        1, "clip-scoring: rejection rate 0.1818 above the limit 0.1"
    )  # fmt: skip
    assert world.sql("SELECT state FROM clip.run") == [("failed",)]


def test_drift_against_the_last_runs_fails_the_command(command: Command, world: World) -> None:
    world.add_many(40, first=100)
    world.sql("UPDATE clip.record SET image_uri = '1.png' WHERE key >= 100")
    assert command("run", *DAY)[0] == 0
    world.sql(
        "UPDATE clip.run SET metrics = jsonb_set(metrics, '{histogram}', "
        "'{\"-900\": 50}') WHERE state = 'succeeded'"
    )
    code, lines = command("run", *DAY, "--rescore", "all", "--max-drift", "0.2")
    assert code == 1
    assert lines[-1].startswith("clip-scoring: similarities drifted by ")
    assert lines[-1].endswith(" from the last runs, above the limit 0.2")
    found = world.sql("SELECT metrics -> 'drift', state FROM clip.run ORDER BY id DESC LIMIT 1")
    assert float(str(found[0][0])) > 0.2
    assert found[0][1] == "failed"


def test_the_metrics_of_a_run_hold_what_it_took(command: Command, world: World) -> None:
    command("run", *DAY)
    ((metrics,),) = world.sql("SELECT metrics FROM clip.run")
    assert isinstance(metrics, dict)
    assert {"read", "fetch", "decode", "score", "commit", "wall"} <= set(metrics["stage_seconds"])
    assert metrics["bytes"] > 0
    assert metrics["peak_memory_bytes"] > 10_000_000
    assert (metrics["backoffs"], metrics["fetch_retries"]) == (0, 0)
    assert metrics["devices"] == ["cpu"]
    assert metrics["rejections"] == {"object_not_found": 1, "uri_forbidden": 1}
    assert sum(metrics["histogram"].values()) == 9
    assert metrics["drift"] is None
    assert ":" in metrics["bottleneck"]


def test_roles_are_granted_by_command(command: Command) -> None:
    assert command("db", "roles") == (
        0, ["roles clip_owner, clip_worker and clip_reader have their rights on schema clip"]
    )  # fmt: skip
