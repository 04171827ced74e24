"""The running parts of one stack: started together, watched together, stopped together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stack.airflow import COMPONENTS, METADATA, OURS, Site, write_login
from stack.layout import State
from stack.postgres import PostgresServer, free_port
from stack.processes import Running, StackError, died, finish, last_lines, poll, start
from stack.rest import Api, Unreachable, dag_known, ensure_pool, healthy, log_in

DAG = "clip_scoring"
POOL = "gpu"
READER = "clip_pages"
MOST_AT_ONCE = 4
"""As many tasks as this stack runs at the same time."""
PREPARE_LIMIT_S = 300.0
READY_LIMIT_S = 240.0
DAG_LIMIT_S = 120.0
ATTEMPTS = 3
PORT_TAKEN = "address already in use"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SOURCES = """\
sources:
  records:
    kind: postgres
    connection: clip_scoring_db
    image_roots: [{roots}]
"""


class Crew:
    """What runs in one state folder; every change is remembered there at once."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.running, self.port = state.remembered()

    def add(self, running: Running) -> None:
        """Take one more part in."""
        self.running.append(running)
        self.state.remember(self.running, self.port)

    def check(self) -> None:
        """StackError with the last words of a part that ended by itself."""
        for part in self.running:
            if not part.alive():
                raise StackError(died(part))

    def stop(self, *, keep: int = 0) -> None:
        """Stop all parts but the first `keep`, the database last."""
        leaving = self.running[keep:]
        for part in self.running[max(keep, 1) :]:
            part.ask_to_stop()
        for part in reversed(leaving):
            part.stop()
        self.running = self.running[:keep]
        self.state.remember(self.running, self.port)

    def release(self) -> None:
        """Let all parts outlive this process."""
        for part in self.running:
            part.release()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore further wishes to stop while the stack is being stopped."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def bring_up(crew: Crew, *, scheduled: bool, say: Callable[[str], None]) -> tuple[Site, Api]:
    """Start everything, from whatever an earlier stack left; returns when Airflow can work."""
    state = crew.state
    crew.stop()
    server = PostgresServer.start(state.postgres, tied_to_owner=True)
    crew.add(server.running)
    say(f"PostgreSQL answers on port {server.login.port}")
    for name in (METADATA, OURS):
        server.create_database(name)
    site = Site(state, server.login, free_port(crew.port), scheduled)
    write_login(state)
    prepare(site)
    site = replace(site, reader=server.create_login(READER, member_of="clip_reader"))
    say("databases are migrated, the sample records are loaded")
    site = start_airflow(crew, site)
    api = await_airflow(crew, site)
    say(f"Airflow answers on {site.url}")
    ensure_pool(api, POOL, shards_at_once())
    await_dag(crew, api)
    return site, api


def shards_at_once() -> int:
    """One for a GPU; without one as many as there are cores, each then scored by one of them."""
    if Path("/dev/nvidiactl").exists():
        return 1
    return min(len(os.sched_getaffinity(0)), MOST_AT_ONCE)


def prepare(site: Site) -> None:
    """Bring both databases to their newest schema and load the sample; repeating adds nothing."""
    roots = str(site.state.sample).replace("'", "''")
    site.state.sources.write_text(SOURCES.format(roots=f"'{roots}'"), encoding="utf-8")
    migration = start(site.command("airflow db migrate", "airflow", "db", "migrate", log="migrate"))
    try:
        ours = ("clip_scoring", "db", "upgrade")
        finish(start(site.command(" ".join(ours), *ours, log="clip")), limit_s=PREPARE_LIMIT_S)
        roles = ("clip_scoring", "db", "roles")
        finish(start(site.command(" ".join(roles), *roles, log="clip")), limit_s=PREPARE_LIMIT_S)
        sample = ("clip_scoring", "sample", "--to", str(site.state.sample))
        finish(
            start(site.command("clip_scoring sample", *sample, log="clip")), limit_s=PREPARE_LIMIT_S
        )
        finish(migration, limit_s=PREPARE_LIMIT_S)
    finally:
        migration.stop()


def start_airflow(crew: Crew, site: Site) -> Site:
    """Start all components; on another port when the chosen one was lost in the meantime."""
    for attempt in range(ATTEMPTS):
        site = site if attempt == 0 else site.moved(free_port())
        crew.port = site.port
        for name in COMPONENTS:
            crew.add(start(site.component(name)))
        if listening(crew, site):
            return site
        crew.stop(keep=1)
    raise StackError(f"Airflow lost {ATTEMPTS} races for a port; logs: {crew.state.logs}")


def listening(crew: Crew, site: Site) -> bool:
    """Wait until our API server answers; False when somebody else has its port."""
    server = crew.running[1]

    def decided() -> bool:
        return not server.alive() or answers(site)

    if not poll(decided, limit_s=READY_LIMIT_S):
        raise StackError(f"the API server is silent for {READY_LIMIT_S:.0f} s (log: {server.log})")
    if server.alive():
        return True
    if PORT_TAKEN not in last_lines(server.log, 20):
        raise StackError(died(server))
    return False


def answers(site: Site) -> bool:
    """Whether the API server listens."""
    try:
        Api(site.url).get("/api/v2/version")
    except Unreachable:
        return False
    return True


def await_airflow(crew: Crew, site: Site) -> Api:
    """The API as administrator, once all components report health."""
    api = log_in(site.url, "admin", crew.state.keys().admin_password)

    def ready() -> bool:
        crew.check()
        return healthy(api)

    if not poll(ready, limit_s=READY_LIMIT_S, every_s=1.0):
        raise StackError(
            f"Airflow is not healthy after {READY_LIMIT_S:.0f} s (logs: {crew.state.logs})"
        )
    return api


def await_dag(crew: Crew, api: Api) -> None:
    """Return once Airflow has read our DAG; StackError when the DAG does not load."""

    def known() -> bool:
        crew.check()
        return dag_known(api, DAG)

    if not poll(known, limit_s=DAG_LIMIT_S, every_s=1.0):
        raise StackError(
            f"Airflow found no DAG {DAG} in {DAG_LIMIT_S:.0f} s (logs: {crew.state.logs})"
        )
