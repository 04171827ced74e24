"""The demonstration: a fresh stack scores the sample under Airflow and says what came out."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from stack.airflow import Site
from stack.crew import DAG, Crew, bring_up, uninterrupted
from stack.layout import DEMO, State
from stack.processes import StackError, poll
from stack.report import read_findings, report
from stack.rest import Api, trigger, unfinished, unpause

LAST_DAY = "2026-01-03"
RUN_LIMIT_S = 600.0
TASKS = ("plan", "score", "finish")
ENDED = ("success", "failed")


class Clock:
    """Prints each line with the time since the start."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def say(self, line: str) -> None:
        """Print one line at once."""
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f"{minutes}:{seconds:02d}  {line}", flush=True)


def demo() -> int:
    """Run the demonstration in its own state folder; 0 when the DAG run succeeded."""
    state = State(DEMO)
    clock = Clock()
    with state.locked():
        clock.say(f"logs go to {state.logs}")
        crew = Crew(state)
        try:
            site, api = bring_up(crew, scheduled=False, say=clock.say)
            return show(crew, site, api, clock)
        finally:
            with uninterrupted():
                crew.stop()


def show(crew: Crew, site: Site, api: Api, clock: Clock) -> int:
    """Run the DAG and print the result."""
    unpause(api, DAG)
    left = unfinished(api, DAG)
    run = left or trigger(api, DAG, LAST_DAY)
    clock.say(f"{'continuing' if left else 'started'} run {run} of DAG {DAG} for {LAST_DAY}")
    verdict = watch(crew, api, run, clock)
    clock.say(f"the run ended: {verdict}")
    findings = read_findings(site.database_url, site.state.sample / "records.json")
    for line in report(findings):
        print(line, flush=True)
    return 0 if verdict == "success" else 1


def watch(crew: Crew, api: Api, run: str, clock: Clock) -> str:
    """Print what changes until the run has ended; returns its state."""
    seen: dict[str, str] = {}

    def ended() -> bool:
        crew.check()
        seen["state"], progress = look(api, run)
        if progress != seen.get("progress"):
            seen["progress"] = progress
            clock.say(progress)
        return seen["state"] in ENDED

    if not poll(ended, limit_s=RUN_LIMIT_S, every_s=1.0):
        raise StackError(f"run {run} is {seen['state']} after {RUN_LIMIT_S:.0f} s")
    return seen["state"]


def look(api: Api, run: str) -> tuple[str, str]:
    """The state of a run, and one line about its tasks."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run}"
    state = str(api.get(path)["state"])
    tasks = api.get(f"{path}/taskInstances?limit=100")["task_instances"]
    return state, "  ".join(f"{name}: {summary(tasks, name)}" for name in TASKS)


def summary(tasks: list[dict[str, Any]], name: str) -> str:
    """The states of one task's instances, as `2 success, 1 running`."""
    states = Counter(task["state"] or "waiting" for task in tasks if task["task_id"] == name)
    return ", ".join(
        f"{count} {state}" if states.total() > 1 else state for state, count in states.items()
    )
