"""The checks themselves, part by part: each yields its findings with their remedies."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib import metadata
from pathlib import Path

from clip_scoring.database import health, schema
from clip_scoring.database.connection import DATABASE_ERRORS, Database, connect_engine
from clip_scoring.doctor import places
from clip_scoring.doctor.findings import (
    CheckStatus,
    Finding,
    Findings,
    bucket_finding,
    clock_finding,
    cpu_finding,
    disk_finding,
    extras_findings,
    gpu_finding,
    gpu_missing,
    grant_to,
    packages_finding,
    python_finding,
    rights_finding,
)
from clip_scoring.errors import ClipScoringError, NotPermitted, SettingsInvalid
from clip_scoring.fingerprint import Tier
from clip_scoring.images.http.networks import parse_networks
from clip_scoring.models.weights import Weights
from clip_scoring.settings.environment import S3Access, Settings
from clip_scoring.settings.registrations import (
    BucketPlace,
    ExportBucket,
    ExportFolder,
    FilePlace,
    SourceRegistration,
    TablePlace,
)
from clip_scoring.wiring import (
    cores_here,
    current_database,
    device_of,
    extra,
    find_weights,
    open_loader,
    open_scorer,
    open_source,
)

_BROKEN = (ClipScoringError, OSError, ImportError, *DATABASE_ERRORS)
"""Errors that a check expects; any other is a mistake in this program."""
_GPU_BROKEN = "see in nvidia-smi who uses it and how it is; a new process may get it back"
_S3 = (
    "correct bucket and prefix in the registration file, or the endpoint and keys of the "
    "connection (outside Airflow AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
)
_REGISTRATION = "correct it in the registration file, or make what it names readable"
_REMEDIES = {
    "cpu": "install torch anew: make clean setup",
    "settings": "correct it and ask again: the rest needs it",
    "gpu": "make a GPU visible to a torch that is built for CUDA, or set CLIP_SCORING_DEVICE=auto "
    "and CLIP_SCORING_REQUIRE_GPU=0",
    "weights": "correct CLIP_SCORING_WEIGHTS, or get the files anew",
    "self-test": "get the weights anew, then the packages: make clean setup",
    "database": "start it, or correct CLIP_SCORING_DATABASE_URL",
    "schema": "as the owner: clip-scoring db upgrade",
    "source": _REGISTRATION,
    "images": _REGISTRATION,
    "exports": "correct `exports:` in the registration file, or make the place writable",
    "disk": "correct CLIP_SCORING_CACHE",
}
"""Remedies for checks that break, by name; the error's text says what broke."""


def examine(read_settings: Callable[[], Settings]) -> Findings:
    """Every finding as soon as it is made; a broken part does not keep the others from theirs."""
    yield python_finding(sys.version_info[:3])
    yield packages_finding(_version)
    yield from extras_findings(_version)
    yield from _guarded("cpu", _cpu())
    try:
        settings = read_settings()
    except SettingsInvalid as wrong:
        for line in str(wrong).splitlines():
            yield Finding("settings", CheckStatus.FAIL, line, _REMEDIES["settings"])
        return
    yield from _guarded("gpu", _gpu(settings))
    yield from _guarded("weights", _weights(settings))
    yield from _records(settings)
    yield from _guarded("exports", _exports(settings))
    cache = settings.compute.cache
    yield from _guarded("disk", _disk({f"the cache ({cache})": cache, "this folder": Path()}))


def _guarded(name: str, findings: Findings, *, about: str = "", remedy: str = "") -> Findings:
    """The findings; where looking breaks, a failure of that name takes the place of the rest."""
    try:
        yield from findings
    except _BROKEN as broken:
        yield Finding(name, CheckStatus.FAIL, about + _message(broken), remedy or _REMEDIES[name])


def _message(broken: Exception) -> str:
    if isinstance(broken, OSError) and broken.filename is not None:
        return f"{broken.filename}: {broken.strerror}"
    return (str(broken).splitlines() or [type(broken).__name__])[0]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> Findings:
    from clip_scoring.models.devices import cpu_flags  # noqa: PLC0415  # torch takes seconds

    yield cpu_finding(cores_here(), cpu_flags())


def _gpu(settings: Settings) -> Findings:
    device = device_of(settings)
    if settings.compute.device == "cpu":
        yield Finding("gpu", CheckStatus.SKIP, "not looked for: CLIP_SCORING_DEVICE=cpu")
    elif device == "mps":
        yield Finding("gpu", CheckStatus.OK, "Apple's, as device mps")
    else:
        yield from _guarded("gpu", _nvidia_gpus(), remedy=_GPU_BROKEN)


def _nvidia_gpus() -> Findings:
    from clip_scoring.models import gpus  # noqa: PLC0415  # as above

    driver, gpus_there = gpus.driver_version(), gpus.visible_gpus()
    if not gpus_there.seen:
        yield gpu_missing(gpus_there.torch, gpus_there.cuda, driver, gpus_there.complaint)
    for gpu in gpus_there.seen:
        gpus.require_right_products(gpu.number)
        yield gpu_finding(gpu, driver)


def _weights(settings: Settings) -> Findings:
    opened = find_weights(settings, None)
    about = f"{opened.architecture}, sha256 {opened.weights_sha256[:12]}"
    text = f"{settings.weights}: {about}, revision {opened.revision[:12]}"
    yield Finding("weights", CheckStatus.OK, text)
    yield from _guarded("self-test", _self_test(settings, opened))


def _self_test(settings: Settings, weights: Weights) -> Findings:
    """Score the fixed pairs as every worker does before it begins."""
    from clip_scoring.models.devices import usual_dtype  # noqa: PLC0415  # as above

    try:
        dtype = usual_dtype(device_of(settings))
    except SettingsInvalid:
        yield Finding("self-test", CheckStatus.SKIP, "no device to run it on", "see gpu")
        return
    made_with = weights.fingerprint(tier=Tier.EXACT, dtype=dtype)
    plain, started = SourceRegistration("trial"), time.monotonic()
    with closing(open_loader(settings, plain, weights, tier=Tier.EXACT, decoders=1)) as loader:
        scorer = open_scorer(settings, weights, made_with, loader=loader, threads=cores_here())
    took = time.monotonic() - started
    text = f"decodes and scores as it must, on {scorer.device}, in {took:.1f} s; fingerprint "
    text += f"{made_with.digest[:12]} ({made_with.tier}, {made_with.dtype})"
    yield Finding("self-test", CheckStatus.OK, text)


def _records(settings: Settings) -> Findings:
    """The database, and every source with its images."""
    findings = list(_guarded("database", _database(settings)))
    yield from findings
    ready = all(finding.status in {CheckStatus.OK, CheckStatus.WARN} for finding in findings)
    for registration in settings.registrations.sources.values():
        about = f"{registration.name}: "
        if isinstance(registration.place, TablePlace) and not ready:
            text = f"{about}table {registration.place.table}, not looked for"
            yield Finding("source", CheckStatus.SKIP, text, "see database")
        else:
            yield from _guarded("source", _source(registration, settings), about=about)
        yield from _guarded("images", _images(registration, settings), about=about)


def _database(settings: Settings) -> Findings:
    if settings.database_url is None:
        remedy = "set CLIP_SCORING_DATABASE_URL for plan and run; score needs none"
        yield Finding("database", CheckStatus.SKIP, "not configured", remedy)
        return
    engine = connect_engine(settings.database_url, kept=1)
    try:
        server = health.ask_server(engine)
        where = f"{server.database} at {engine.url.host}:{engine.url.port or 5432}"
        answer = f"answers {server.login} in {server.answer_s * 1000:.1f} ms"
        text = f"PostgreSQL {server.version}, {where}, {answer}"
        yield Finding("database", CheckStatus.OK, text)
        yield clock_finding(server.ahead_s)
        yield from _guarded("schema", _schema(engine, server.login))
    finally:
        engine.dispose()


def _schema(engine: Database, login: str) -> Findings:
    try:
        schema.require_current(engine)
    except NotPermitted as denied:
        yield Finding("rights", CheckStatus.FAIL, _message(denied), grant_to(login))
        return
    yield Finding("schema", CheckStatus.OK, f"clip at version {schema.SCHEMA_VERSION}")
    yield rights_finding(login, health.ask_rights(engine))


def _source(registration: SourceRegistration, settings: Settings) -> Findings:
    name = registration.name
    match registration.place:
        case TablePlace(table=table):
            # Needs the right to read every column, and reads no record.
            open_source(settings, current_database(settings), name).find((), longest=1)
            yield Finding("source", CheckStatus.OK, f"{name}: table {table}, may be read")
        case FilePlace(path=path) as file:
            size = places.look_into_csv(file)
            yield Finding("source", CheckStatus.OK, f"{name}: {path}, {size:,} bytes, may be read")
        case BucketPlace(bucket=bucket, prefix=prefix, connection=connection):
            access = settings.s3_access(connection)
            yield from _bucket("source", f"{name}: ", f"{bucket}/{prefix}", access)


def _images(registration: SourceRegistration, settings: Settings) -> Findings:
    try:
        parse_networks(registration.allowed_networks)
    except ValueError as wrong:
        raise SettingsInvalid(f"allowed_networks: {wrong}") from wrong
    proxy = f" through {registration.egress_proxy}" if registration.egress_proxy else ""
    for root in registration.image_roots:
        places.require_folder(root)
    folders = ", ".join(map(str, registration.image_roots)) or "no folder (image_roots is empty)"
    text = f"{registration.name}: from the web{proxy} and from {folders}"
    yield Finding("images", CheckStatus.OK, text)
    for place in registration.image_buckets:
        access = settings.s3_access(registration.image_connection)
        yield from _bucket("images", f"{registration.name}: ", place, access)


def _exports(settings: Settings) -> Findings:
    match settings.registrations.exports:
        case ExportFolder(path):
            places.require_writable(path)
            yield Finding("exports", CheckStatus.OK, f"{path}, may be written to")
        case ExportBucket(bucket, prefix, connection):
            access = settings.s3_access(connection)
            yield from _bucket("exports", "", f"{bucket}/{prefix}", access)
        case None:
            remedy = "write `exports:` into the registration file, or name a folder: export --to"
            yield Finding("exports", CheckStatus.SKIP, "no place is registered", remedy)


def _bucket(name: str, about: str, place: str, access: S3Access) -> Findings:
    yield from _guarded(name, _listed(name, about, place, access), about=about, remedy=_S3)


def _listed(name: str, about: str, place: str, access: S3Access) -> Findings:
    with extra("s3"):
        from clip_scoring.sources.bucket_listing import look_into_bucket  # noqa: PLC0415  # an extra

    bucket, _, prefix = place.partition("/")
    yield bucket_finding(name, f"{about}s3://{place}", look_into_bucket(access, bucket, prefix))


def _disk(folders: Mapping[str, Path]) -> Findings:
    yield disk_finding({use: places.free_bytes(path) for use, path in folders.items()})
