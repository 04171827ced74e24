"""`python -m stack demo|up|down|clean`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import NoReturn

from stack.airflow import ADMIN
from stack.crew import DAG, Crew, bring_up, uninterrupted
from stack.demo import Clock, demo
from stack.layout import DEMO, UP, State
from stack.postgres import HOST
from stack.processes import StackError
from stack.rest import unpause

PARTS = 4


def up() -> int:
    """Start the stack to stay, unless it is up already."""
    state = State(UP)
    with state.locked():
        crew = Crew(state)
        if len(crew.running) == PARTS:
            print("already up")
        else:
            start_to_stay(crew)
    login = f"user {ADMIN}, password {state.keys().admin_password}"
    print(f"http://{HOST}:{crew.port}  ({login})\nlogs: {state.logs}\nstop it with: make down")
    return 0


def start_to_stay(crew: Crew) -> None:
    """Start everything, and let it outlive this process only when all of it works."""
    try:
        _, api = bring_up(crew, scheduled=True, say=Clock().say)
        unpause(api, DAG)
        crew.release()
    except BaseException:
        with uninterrupted():
            crew.stop()
        raise


def down() -> int:
    """Stop the stack that `up` started."""
    state = State(UP)
    with state.locked():
        crew = Crew(state)
        count = len(crew.running)
        crew.stop()
    print(f"stopped {count} parts" if count else "nothing runs")
    return 0


def clean() -> int:
    """Stop everything and delete all state, also what root keeps outside the checkout."""
    for state in (State(DEMO), State(UP)):
        with state.locked():
            Crew(state).stop()
            state.remove()
    return 0


COMMANDS: Mapping[str, Callable[[], int]] = {"demo": demo, "up": up, "down": down, "clean": clean}


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Turn a signal into an orderly exit that runs every `finally`."""
    del frame
    sys.exit(128 + number)


def main() -> int:
    """Run one command; what goes wrong is one line."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS])
    command = COMMANDS[parser.parse_args().command]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        return command()
    except (StackError, OSError) as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
