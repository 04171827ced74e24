"""Settings to adapters: each part that a run is made of, opened as its registration says."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clip_scoring.database import schema
from clip_scoring.database.connection import Database, connect_engine
from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.geometry import Geometry
from clip_scoring.images.decode import decode, is_plain_jpeg
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.fetcher import Fetcher, Objects
from clip_scoring.images.http.client import HttpFetcher
from clip_scoring.images.http.networks import parse_networks
from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.loader import ImageLoader
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.ports import ImageDecoders, Loader, Source
from clip_scoring.selftest import self_test
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.registrations import (
    BucketPlace,
    FilePlace,
    SourceRegistration,
    TablePlace,
)
from clip_scoring.sources.files import FileSource
from clip_scoring.sources.formats import FORMATS
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.table import PostgresSource

if TYPE_CHECKING:
    from clip_scoring.models.clip import ClipScorer

logger = logging.getLogger(__name__)


def current_database(settings: Settings, *, kept: int = 0) -> Database:
    """Our database, whose schema this program knows; SchemaMismatch otherwise."""
    engine = connect_engine(settings.require_database_url(), kept=kept)
    schema.require_current(engine)
    return engine


def find_weights(settings: Settings, name: str | None) -> Weights:
    """The weights of that registered name, or the settings', from their folder or the hub."""
    location = settings.weights_location(name or settings.weights)
    if "@" not in location:
        return open_weights(location)
    from clip_scoring.models.hub import fetch_snapshot, is_hub_id  # noqa: PLC0415  # takes a while

    if not is_hub_id(location):
        return open_weights(location)
    snapshot = fetch_snapshot(location)
    return open_weights(str(snapshot.folder), revision=snapshot.revision)


def device_of(settings: Settings) -> str:
    """The device that scores here: `cpu`, or `cuda` and its number."""
    from clip_scoring.models.devices import choose_device  # noqa: PLC0415  # torch takes seconds

    return choose_device(settings.compute.device, require_gpu=settings.compute.require_gpu)


def usual_dtype_of(settings: Settings) -> Dtype:
    """The number format for whoever names none."""
    from clip_scoring.models.devices import usual_dtype  # noqa: PLC0415  # as above

    return usual_dtype(device_of(settings))


def open_source(settings: Settings, engine: Database, name: str) -> Source:
    """The registered source, over the database and its own place."""
    registration = settings.registrations.source(name)
    match registration.place:
        case TablePlace() as table:
            return PostgresSource(engine, name, table)
        case BucketPlace() as bucket:
            rows = FORMATS[bucket.format](bucket.image, bucket.caption)
            with extra("s3"):
                from clip_scoring.sources.s3 import (  # noqa: PLC0415  # an extra
                    S3Objects,
                    connect_s3,
                )
            client = connect_s3(settings.s3_access(bucket.connection))
            store = S3Objects(client, bucket.bucket, bucket.prefix, rows.suffixes)
            return FileSource(engine, name, store, rows)
        case FilePlace() as file:
            rows = CsvRows(file.image, file.caption, file.key)
            return FileSource(engine, name, LocalFiles(file.path), rows)


def open_scorer(
    settings: Settings,
    weights: Weights,
    fingerprint: Fingerprint,
    *,
    loader: Loader,
    threads: int | None,
) -> ClipScorer:
    """The scorer, after it has shown that it computes what its weights stand for.

    `threads` None leaves torch's as they are.
    """
    from clip_scoring.models.clip import open_clip  # noqa: PLC0415  # torch takes seconds
    from clip_scoring.models.compute import ComputeOptions  # noqa: PLC0415  # as above
    from clip_scoring.models.reference import reference_similarities  # noqa: PLC0415  # as above

    compute = settings.compute
    options = ComputeOptions(
        device=device_of(settings),
        threads=compute.threads or threads,
        compiled=compute.compiled,
        cache=compute.cache,
    )
    scorer = open_clip(weights, fingerprint, options)
    reference = partial(reference_similarities, weights, scorer.float32_model)
    self_test(loader, scorer, reference, lambda body: decode(body, weights.geometry))
    weights.require_unchanged()
    threads_told = options.threads or "as many as torch takes"
    logger.info("device %s, %s, threads: %s", scorer.device, fingerprint.dtype, threads_told)
    return scorer


def open_loader(
    settings: Settings,
    registration: SourceRegistration,
    weights: Weights,
    *,
    tier: Tier,
    decoders: int,
) -> ImageLoader:
    """Fetches and decodes as the registration of the source allows."""
    made = _decoders(settings, weights.geometry, tier=tier, count=decoders)
    fetcher = Fetcher(
        http=HttpFetcher(_http_policy(registration)),
        roots=registration.image_roots,
        open_objects=objects_opener(settings, registration),
    )
    return ImageLoader(fetcher, made)


def objects_opener(
    settings: Settings, registration: SourceRegistration
) -> Callable[[], Objects] | None:
    """Connects to the store that images of the source may come from, if there is one."""
    if not registration.image_buckets:
        return None

    def connected() -> Objects:
        with extra("s3"):
            from clip_scoring.images.objects import S3Images  # noqa: PLC0415  # an extra
            from clip_scoring.sources.s3 import connect_s3  # noqa: PLC0415  # as above
        client = connect_s3(settings.s3_access(registration.image_connection))
        return S3Images(client, registration.image_buckets)

    return connected


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports that need an extra; raises SettingsInvalid that says how to install it."""
    try:
        yield
    except ImportError as missing:
        raise SettingsInvalid(
            f"{missing.name} is not installed: pip install 'clip-scoring[{name}]'"
        ) from missing


def _decoders(settings: Settings, geometry: Geometry, *, tier: Tier, count: int) -> ImageDecoders:
    """Decoder processes, and for tier nvjpeg the GPU in front of them."""
    if tier is not Tier.NVJPEG:
        return Decoders(decoder_command(geometry, tier), geometry.shape, count=count)
    from clip_scoring.models.nvjpeg import (  # noqa: PLC0415  # torch takes seconds
        DeviceDecoders,
        open_nvjpeg,
    )

    decode_jpegs = open_nvjpeg(device_of(settings), geometry)
    fallback = Decoders(decoder_command(geometry, Tier.FAST), geometry.shape, count=count)
    return DeviceDecoders(decode_jpegs, geometry, plain=is_plain_jpeg, fallback=fallback)


def _http_policy(registration: SourceRegistration) -> HttpPolicy:
    try:
        networks = parse_networks(registration.allowed_networks)
    except ValueError as wrong:
        raise SettingsInvalid(f"source {registration.name}: allowed_networks: {wrong}") from wrong
    return HttpPolicy(
        allowed_networks=networks,
        allowed_ports=registration.allowed_ports,
        allowed_hosts=registration.allowed_hosts,
        egress_proxy=registration.egress_proxy,
    )


def cores_here() -> int:
    """Of this process; containers often allow less time than there are cores."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # another cgroup version, or "max"
        return cores
