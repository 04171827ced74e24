"""One short question to a bucket: is it there, with anything below a prefix?"""

from __future__ import annotations

from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from clip_scoring.display import one_line
from clip_scoring.errors import ObjectUnreadable, SettingsInvalid
from clip_scoring.runs import Window
from clip_scoring.settings.environment import S3Access
from clip_scoring.sources.s3 import S3Objects, connect_s3
from clip_scoring.sources.stored_objects import Listing

_EVER = Window(None, datetime.max.replace(tzinfo=UTC))
_EVERY_NAME = ("",)


def look_into_bucket(access: S3Access, bucket: str, prefix: str) -> Listing:
    """Ask for the first object below the prefix, up to its `{date}`.

    Raises ObjectUnreadable for a bucket or a login that does not exist, ObjectStoreUnavailable
    when nobody answers, SettingsInvalid for an access that nothing can be asked with.
    """
    static = prefix.partition("{date}")[0]
    try:
        client = connect_s3(access)
    except BotoCoreError as unusable:
        raise SettingsInvalid(f"S3 access: {one_line(str(unusable))}") from unusable
    except ValueError as wrong:
        text = "S3 access: the endpoint is not of the form http://host:port"
        raise SettingsInvalid(text) from wrong
    try:
        first = next(S3Objects(client, bucket, static, _EVERY_NAME).list_objects(_EVER), None)
    except ObjectUnreadable as refused:
        if _only_listing_is_denied(refused.__cause__):
            return Listing.DENIED
        raise
    finally:
        client.close()
    return Listing.EMPTY if first is None else Listing.FOUND


def _only_listing_is_denied(cause: BaseException | None) -> bool:
    return isinstance(cause, ClientError) and cause.response["Error"].get("Code") == "AccessDenied"
