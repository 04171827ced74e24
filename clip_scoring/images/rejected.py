"""The exception by which the stages of loading reject one image."""

from __future__ import annotations

from clip_scoring.display import redacted
from clip_scoring.records import Reason, Rejection


class ImageRejected(Exception):
    """This image becomes a rejection; never leaves the loader."""

    def __init__(self, reason: Reason, detail: str, *, retry_after: int | None = None) -> None:
        self.rejection = Rejection(reason, redacted(detail)[:200], retry_after)
        super().__init__(f"{reason}: {self.rejection.detail}")
