"""Findings of the checks, and the pure rules that judge the facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from clip_scoring.database.health import Rights
from clip_scoring.display import redacted
from clip_scoring.sources.stored_objects import Listing

if TYPE_CHECKING:
    from clip_scoring.models.gpus import Gpu

PACKAGES: Mapping[str, tuple[int, ...]] = {
    "torch": (2, 8), "transformers": (5, 20), "pillow": (12,), "numpy": (2, 1),
}  # fmt: skip
"""Packages that every worker imports, each with the lowest version that serves."""
EXTRAS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "s3": (("boto3", "urllib3"), "records, images and exports in S3"),
    "int8": (("onnx", "onnxruntime"), "number format int8 on CPUs"),
    "nvjpeg": (("torchcodec",), "tier nvjpeg on GPUs"),
    "airflow": (("apache-airflow", "apache-airflow-providers-http"), "the nightly DAG"),
}
"""The optional extras: their packages, and what they are for."""
_PYTHONS = ((3, 11), (3, 12))
_FEATURES = {"AVX2": "avx2", "AVX512": "avx512f", "AVX512_BF16": "avx512_bf16", "AMX": "amx_bf16"}
_GIB = 2**30
_SKEW_S = 5.0


class CheckStatus(StrEnum):
    """How things stand with one part."""

    OK = "ok"
    WARN = "warn"
    """It works, though not as well as it could, or for less than it should."""
    FAIL = "fail"
    SKIP = "skip"
    """Not looked at: nobody set it up, or something else comes first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one part and its remedy; no remedy where nothing has to be done.

    Addresses in it lose their secrets: settings hold some.
    """

    name: str
    status: CheckStatus
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", redacted(self.text))


Findings = Iterator[Finding]
VersionOf = Callable[[str], str | None]
"""The version of an installed package; None for one that is not."""


def python_finding(version: tuple[int, ...]) -> Finding:
    """Whether this program is made for that version of Python."""
    text = ".".join(map(str, version))
    if version[:2] in _PYTHONS:
        return Finding("python", CheckStatus.OK, text)
    remedy = "take Python 3.11 or 3.12: make clean setup"
    return Finding("python", CheckStatus.FAIL, f"{text} is not supported", remedy)


def packages_finding(version_of: VersionOf) -> Finding:
    """Whether the packages that matter are there, and recent enough."""
    versions = {name: version_of(name) for name in PACKAGES}
    wanting = [
        f"{name}>={'.'.join(map(str, lowest))}"
        for name, lowest in PACKAGES.items()
        if _numbers(versions[name] or "0") < lowest
    ]
    text = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    if not wanting:
        return Finding("packages", CheckStatus.OK, text)
    return Finding("packages", CheckStatus.FAIL, text, f"pip install {_quoted(*wanting)}")


def extras_findings(version_of: VersionOf) -> Findings:
    """Which optional extras are there; one that is absent is no fault."""
    for extra, (packages, purpose) in EXTRAS.items():
        versions_of_extra = {name: version_of(name) for name in packages}
        if all(versions_of_extra.values()):
            versions = ", ".join(f"{name} {version}" for name, version in versions_of_extra.items())
            yield Finding(extra, CheckStatus.OK, versions)
        else:
            missing = " and ".join(name for name in packages if not versions_of_extra[name])
            remedy = f"for {purpose}: pip install {_quoted(f'clip-scoring[{extra}]')}"
            yield Finding(extra, CheckStatus.SKIP, f"without {missing}", remedy)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version.partition("+")[0]))


def _quoted(*requirements: str) -> str:
    return " ".join(f"'{requirement}'" for requirement in requirements)


def cpu_finding(cores: int, flags: frozenset[str]) -> Finding:
    """The features of the CPU; `flags` are its instruction sets, empty where nobody knows."""
    counted = f"{cores} core{'s' * (cores != 1)} for this process"
    if "sse2" not in flags:  # not of the x86 family, whose features these are
        return Finding("cpu", CheckStatus.OK, counted)
    features = [name if flag in flags else f"no {name}" for name, flag in _FEATURES.items()]
    text = f"{counted}; {', '.join(features)}"
    if _FEATURES["AVX2"] in flags:
        return Finding("cpu", CheckStatus.OK, text)
    return Finding(
        "cpu", CheckStatus.WARN, text, "take a CPU with AVX2: without it, scoring is slow"
    )


def gpu_finding(gpu: Gpu, driver: str | None) -> Finding:
    """A GPU that computes: which it is, and whether somebody else fills it."""
    free = f"{gpu.free / _GIB:.1f} of {gpu.total / _GIB:.1f} GiB free"
    text = f"{gpu.number}: {gpu.name}, multiplies right, {free}, driver {driver or 'unknown'}"
    if gpu.free >= _GIB:
        return Finding("gpu", CheckStatus.OK, text)
    return Finding("gpu", CheckStatus.WARN, text, "see in nvidia-smi who takes its memory")


def gpu_missing(torch: str, cuda: str | None, driver: str | None, complaint: str) -> Finding:
    """The finding for no GPU where none is required: odd if there is a driver for one."""
    built = f"torch {torch} is built for {f'CUDA {cuda}' if cuda else 'CPUs alone'}"
    if driver is None:
        return Finding("gpu", CheckStatus.OK, f"none, the CPU scores; {built}")
    text = f"driver {driver} is there, but torch sees no GPU: {complaint or built}"
    if cuda is None:
        return Finding("gpu", CheckStatus.WARN, text, "install a torch that is built for CUDA")
    remedy = "update the driver or take a torch for an older CUDA, and look at CUDA_VISIBLE_DEVICES"
    return Finding("gpu", CheckStatus.WARN, text, remedy)


def clock_finding(ahead_s: float) -> Finding:
    """Whether this machine and the database agree on the time."""
    if abs(ahead_s) <= _SKEW_S:
        return Finding("clock", CheckStatus.OK, f"{abs(ahead_s):.1f} s from the database's")
    text = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the database's"
    remedy = "synchronise both by NTP: times in logs and tables do not fit (leases do)"
    return Finding("clock", CheckStatus.WARN, text, remedy)


def rights_finding(login: str, rights: Rights) -> Finding:
    """Whether the login may do what a run does."""
    grant = grant_to(login)
    match rights:
        case Rights(reads=False):
            return Finding("rights", CheckStatus.FAIL, f"{login} may not read schema clip", grant)
        case Rights(standby=True):
            text = "the database takes no changes now: enough for status, not for plan and run"
            return Finding("rights", CheckStatus.WARN, text, "name its primary server in the URL")
        case Rights(writes=False):
            text = f"{login} may read and not write: enough for status, not for plan and run"
            return Finding("rights", CheckStatus.WARN, text, grant)
    return Finding("rights", CheckStatus.OK, f"{login} may read records and write outcomes")


def grant_to(login: str) -> str:
    """The statement that makes a worker of a login."""
    return f"as the owner: clip-scoring db roles, then GRANT clip_worker TO {login}"


def bucket_finding(name: str, place: str, listing: Listing) -> Finding:
    """The meaning of an answer for a place: only sources must be listed, and hold something."""
    match name, listing:
        case "source", Listing.DENIED:
            remedy = "allow its login to list the bucket (s3:ListBucket)"
            return Finding(name, CheckStatus.FAIL, f"{place} may not be listed", remedy)
        case _, Listing.DENIED:
            return Finding(
                name, CheckStatus.OK, f"{place} is there; nothing is listed to this login"
            )
        case "source" | "images", Listing.EMPTY:
            remedy = "put the files there, or correct the prefix in the registration file"
            return Finding(name, CheckStatus.WARN, f"{place} is empty", remedy)
    return Finding(name, CheckStatus.OK, f"{place} answers")


def disk_finding(free: Mapping[str, int]) -> Finding:
    """Whether there is room; bytes that are free by what they are for."""
    text = ", ".join(f"{count / _GIB:.1f} GiB free for {use}" for use, count in free.items())
    if min(free.values()) >= _GIB:
        return Finding("disk", CheckStatus.OK, text)
    remedy = "free some space, or set CLIP_SCORING_CACHE to a folder with more"
    return Finding("disk", CheckStatus.WARN, text, remedy)
