"""Everything that can change a similarity, as one value with a digest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256


class Dtype(StrEnum):
    """Number format of the towers; normalisation and dot product are always float32."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    """Weights and activations of the towers in eight bits, on CPUs."""


class Tier(StrEnum):
    """How pixels are made from bytes; `exact` gives the reference processor's pixels."""

    EXACT = "exact"
    FAST = "fast"
    """JPEG decoded at a reduced scale, resized by torch: within few levels of `exact`."""
    NVJPEG = "nvjpeg"
    """Plain JPEG decoded and resized on the GPU, everything else as in `fast`."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Two similarities may be compared exactly when their fingerprints are equal."""

    weights_sha256: str
    tokenizer_sha256: str
    preprocessor_sha256: str
    revision: str
    tier: Tier
    resize_kernel: str
    dtype: Dtype

    def parts(self) -> dict[str, str]:
        """The fields by name, as stored in `clip.fingerprint.parts`."""
        return {name: str(value) for name, value in asdict(self).items()}

    @property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) over the canonical JSON of the parts."""
        canonical = json.dumps(self.parts(), sort_keys=True, separators=(",", ":"))
        return sha256(canonical.encode()).hexdigest()
