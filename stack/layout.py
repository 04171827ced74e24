"""The state folder of a stack: where each file lies, and the lock that keeps two owners apart."""

from __future__ import annotations

import base64
import fcntl
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree

from stack.home import write_private
from stack.postgres import remove_server
from stack.processes import Identity, Running, StackError

REPOSITORY = Path(__file__).resolve().parent.parent
UP = REPOSITORY / ".stack"
DEMO = UP / "demo"


@dataclass(frozen=True)
class Keys:
    """The secrets of one Airflow: random, made once."""

    jwt: str
    fernet: str
    session: str
    admin_password: str

    @classmethod
    def generate(cls) -> Keys:
        """New random keys."""
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        return cls(secrets.token_urlsafe(48), fernet, secrets.token_urlsafe(32), password())


def password() -> str:
    """A password that a person can copy."""
    return secrets.token_urlsafe(12)


@dataclass(frozen=True)
class State:
    """The folder of one stack and what lies in it."""

    root: Path

    @property
    def postgres(self) -> Path:
        """PostgreSQL's folder."""
        return self.root / "postgres"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def logs(self) -> Path:
        """One log per component, and a folder of task logs."""
        return self.root / "logs"

    @property
    def sample(self) -> Path:
        """The rendered sample records."""
        return self.root / "sample"

    @property
    def sources(self) -> Path:
        """The registered sources of this stack."""
        return self.root / "sources.yaml"

    def keys(self) -> Keys:
        """The secrets of this stack, made on first use, readable by the owner only."""
        path = self.root / "keys.json"
        if not path.exists():
            write_private(path, json.dumps(asdict(Keys.generate())))
        return Keys(**json.loads(path.read_text()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this state folder; StackError when another process holds it."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"another `make` command works in {self.root}; wait for it"
                ) from None
            yield

    def remember(self, running: list[Running], port: int) -> None:
        """Write down what runs, so that a later command finds and stops it."""
        entries = [
            {
                **asdict(one.identity),
                "name": one.name,
                "log": str(one.log),
                "grace_s": one.grace_s,
            }
            for one in running
        ]
        write_private(self.root / "running.json", json.dumps({"port": port, "running": entries}))

    def remembered(self) -> tuple[list[Running], int]:
        """What was started here and still runs, and the port of its web page (0: none yet)."""
        path = self.root / "running.json"
        if not path.exists():
            return [], 0
        record = json.loads(path.read_text())
        known = [recall(entry) for entry in record["running"]]
        return [one for one in known if one.alive()], int(record["port"])

    def remove(self) -> None:
        """Delete the folder with all its data."""
        remove_server(self.postgres)
        rmtree(self.root, ignore_errors=True)


def recall(entry: dict[str, str | int | float]) -> Running:
    """A remembered process; whether it still runs is another question."""
    identity = Identity(int(entry["pid"]), int(entry["ticks"]), str(entry["boot"]))
    return Running(str(entry["name"]), identity, Path(str(entry["log"])), float(entry["grace_s"]))
