"""The secrets of docker-compose.yaml: made here, kept in .env, read by nobody but its owner."""

from __future__ import annotations

import base64
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from stack.home import write_private


def _password() -> str:
    """For URLs as well: Airflow gets the database and the broker as such."""
    return secrets.token_urlsafe(24)


SECRETS: Mapping[str, Callable[[], str]] = {
    "CLIP_POSTGRES_PASSWORD": _password,
    "CLIP_READER_PASSWORD": _password,
    "CLIP_REDIS_PASSWORD": _password,
    "CLIP_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
    "CLIP_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "CLIP_JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "CLIP_API_SECRET": _password,
    "CLIP_GRAFANA_PASSWORD": lambda: secrets.token_urlsafe(12),
    "CLIP_GRAFANA_KEY": _password,
    "CLIP_S3_RPC_SECRET": lambda: secrets.token_hex(32),
    "CLIP_S3_ACCESS_KEY": lambda: f"GK{secrets.token_hex(16)}",
    "CLIP_S3_SECRET_KEY": lambda: secrets.token_hex(32),
}
IMAGES = "CLIP_IMAGES"
"""No secret, and only its owner knows it: a new file has an empty line for it."""


def assigned(text: str, name: str) -> bool:
    """Whether a line of an env file gives this name a value that is not empty."""
    return bool(
        re.search(rf"""(?m)^[ \t]*(export[ \t]+)?{name}[ \t]*=[ \t]*(?!""|'')[^\s#]""", text)
    )


def complete(file: Path) -> list[str]:
    """Add what is missing, and return its names; what stands in the file stays as it is.

    A name with an empty value is missing; the later line counts. The file is replaced in one step
    and is never readable by others, not even for a moment.
    """
    file = file.resolve()  # a link stays a link
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    missing = [name for name in SECRETS if not assigned(text, name)]
    lines = [f"{name}={SECRETS[name]()}" for name in missing]
    if IMAGES not in text:
        lines.append(f"# The folder with the images, mounted read-only at /images.\n{IMAGES}=")
    if lines:
        gap = "\n" if text and not text.endswith("\n") else ""
        write_private(file, text + gap + "\n".join(lines) + "\n")
    file.chmod(0o600)
    return missing


def main() -> None:
    """Complete the env file that the command line names."""
    file = Path(sys.argv[1])
    for name in complete(file):
        print(f"{file}: made {name}")
    if not assigned(file.read_text(encoding="utf-8"), IMAGES):
        print(f"{file}: set {IMAGES} to the folder with your images")


if __name__ == "__main__":
    main()
