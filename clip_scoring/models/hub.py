"""Weights by hub id and pinned revision: from the local cache, else downloaded."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, errors, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from clip_scoring.errors import ClipScoringError, WeightsInvalid, WeightsUnreachable

log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)@(?P<revision>[0-9a-f]{40})")
_WANTED = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "*.safetensors",
    "model.safetensors.index.json",
)
_SUBFOLDERS = "*/*"
_PASSING = {408, 429}
# The library re-exports the root of its HTTP client's errors, and has changed clients before.
_HTTP_ERROR: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
_REFUSALS: dict[type[Exception], str] = {  # the first that fits: gated is also "not found"
    GatedRepoError: "the repository is gated: accept its terms and set HF_TOKEN",
    RevisionNotFoundError: "the repository has no such revision",
    RepositoryNotFoundError: "no such repository, or it is private: set HF_TOKEN",
    DisabledRepoError: "the hub has disabled the repository",
    OfflineModeIsEnabled: "not in the cache, and HF_HUB_OFFLINE forbids asking the hub",
    HFValidationError: "not a name that the hub allows",
    FileMetadataError: "the endpoint does not answer like a hub",
}


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """The files of one revision (40 hex digits) of a repository, in a folder of the cache."""

    folder: Path
    revision: str


def is_hub_id(location: str) -> bool:
    """Whether a registered location names a repository of the hub, not a folder."""
    return "@" in location and not location.startswith(("/", ".", "~"))


def fetch_snapshot(
    location: str, *, endpoint: str | None = None, cache: Path | None = None
) -> HubSnapshot:
    """The snapshot that `owner/name@revision` names; asks the hub only for what is not cached.

    Takes configuration, tokenizer and safetensors alone, never pickles or code. Raises
    WeightsInvalid where trying again would not help, WeightsUnreachable where it may.
    """
    named = _HUB_ID.fullmatch(location)
    if named is None:
        raise WeightsInvalid(
            f"weights {location!r}: write owner/name@ and the 40 hex digits of a commit"
        )
    repository, revision = named["repository"], named["revision"]
    disable_progress_bars()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    folder = _cached(repository, revision, cache)
    if folder is None:
        started = time.monotonic()
        log.info("weights %s: downloading", location)
        folder = _downloaded(location, repository, revision, cache=cache, endpoint=endpoint)
        seconds = time.monotonic() - started
        log.info("weights %s: downloaded in %.1f s to %s", location, seconds, folder)
    return HubSnapshot(folder, revision)


def _cached(repository: str, revision: str, cache: Path | None) -> Path | None:
    """The snapshot in the cache, or None where it is not there or not whole."""
    try:
        snapshot = snapshot_download(
            repository,
            revision=revision,
            cache_dir=cache,
            local_files_only=True,
            allow_patterns=list(_WANTED),
            ignore_patterns=_SUBFOLDERS,
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    folder = Path(snapshot)
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """False for single files that another program cached, and after a download that was killed."""
    there = {path.name for path in folder.iterdir()}
    index = folder / "model.safetensors.index.json"
    try:
        tensors = (
            set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            if index.name in there
            else {path for path in there if path.endswith(".safetensors")}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return (
        bool(tensors)
        and tensors <= there
        and "config.json" in there
        and bool(there & {"preprocessor_config.json", "processor_config.json"})
        and bool(there & {"tokenizer.json", "vocab.json", "spiece.model"})
    )


def _downloaded(
    location: str, repository: str, revision: str, *, cache: Path | None, endpoint: str | None
) -> Path:
    try:
        snapshot = snapshot_download(
            repository,
            revision=revision,
            cache_dir=cache,
            endpoint=endpoint,
            allow_patterns=list(_WANTED),
            ignore_patterns=_SUBFOLDERS,
        )
        folder = Path(snapshot)
        if not (folder.is_dir() and _is_whole(folder)):
            # Out of reach of the hub the library is content with a part: this call is not.
            HfApi(endpoint=endpoint).list_repo_files(repository, revision=revision)
    except (_HTTP_ERROR, OSError, ValueError, XetDownloadError) as failed:
        raise _translated(location, failed) from failed
    if not folder.is_dir():
        raise WeightsInvalid(f"weights {location}: the revision has none of the files of weights")
    return folder


def _translated(location: str, failed: BaseException) -> ClipScoringError:
    """Our error for one of the hub's: retryable where the network or the hub was at fault."""
    while isinstance(failed, LocalEntryNotFoundError) and failed.__cause__ is not None:
        failed = failed.__cause__
    for kind, refusal in _REFUSALS.items():
        if isinstance(failed, kind):
            return WeightsInvalid(f"weights {location}: {refusal}")
    if isinstance(failed, HfHubHTTPError):
        return _answered(location, failed.response.status_code)
    if isinstance(failed, OSError) and failed.strerror:
        return WeightsInvalid(f"weights {location}: {failed.strerror}: {failed.filename}")
    first_line = (str(failed).strip() or type(failed).__name__).splitlines()[0]
    return WeightsUnreachable(f"weights {location}: the hub is out of reach: {first_line}")


def _answered(location: str, status: int) -> ClipScoringError:
    text = f"weights {location}: the hub answered {status}"
    return WeightsUnreachable(text) if status >= 500 or status in _PASSING else WeightsInvalid(text)
