"""The meaning of a reply over HTTP, or of the lack of one, for the record."""

from __future__ import annotations

import ssl
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientPayloadError,
    ClientResponse,
    ClientSSLError,
    ConnectionTimeoutError,
    InvalidURL,
    SocketTimeoutError,
)

from clip_scoring.images.http.guard import AddressForbidden, NameUnknown
from clip_scoring.images.http.urls import NOT_PUBLIC
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason

_LONGEST_RETRY_AFTER = 86_400
_SOON = 5
_REASONS = {
    401: Reason.HTTP_401_403,
    403: Reason.HTTP_401_403,
    404: Reason.HTTP_404_410,
    410: Reason.HTTP_404_410,
    429: Reason.HTTP_429,
}


class Disconnected(Exception):
    """The connection broke before the reply; hides the cause, which the client would resend for."""


class TransientFailure(Exception):
    """A failure that may pass within seconds."""

    def __init__(self, refused: ImageRejected, wait: int = 0) -> None:
        super().__init__(str(refused))
        self.refused = refused
        self.wait = wait
        """Seconds that the server asked us to wait, at least."""


def check_status(reply: ClientResponse, now: float) -> None:
    """Raise ImageRejected or TransientFailure unless the reply is a whole image, not encoded."""
    if reply.status != HTTPStatus.OK:
        raise _status_refusal(reply, now)
    encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise ImageRejected(Reason.UNSUPPORTED_ENCODING, encoding)


def _status_refusal(reply: ClientResponse, now: float) -> ImageRejected | TransientFailure:
    status, header = reply.status, reply.headers.get("Retry-After")
    broken = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    reason = Reason.HTTP_5XX if broken else _REASONS.get(status, Reason.HTTP_4XX)
    detail = f"status {status}"
    match reason, header:
        case (Reason.HTTP_5XX, None):
            return TransientFailure(ImageRejected(reason, detail))
        case (Reason.HTTP_429, None):
            return ImageRejected(reason, detail, retry_after=0)
        case (Reason.HTTP_5XX | Reason.HTTP_429, str()):
            wait = retry_after(header, now)
            refused = ImageRejected(reason, detail, retry_after=wait)
            return TransientFailure(refused, wait) if wait <= _SOON else refused
        case _:
            return ImageRejected(reason, detail)


def retry_after(header: str, now: float) -> int:
    """Seconds to wait, given as such or as a date; 0 for what is neither, a day at most."""
    if header.isascii() and header.isdigit():
        return min(int(header[:9]), _LONGEST_RETRY_AFTER)
    try:
        seconds = parsedate_to_datetime(header).timestamp() - now
    except (ValueError, OverflowError):
        return 0
    return int(min(max(seconds, 0), _LONGEST_RETRY_AFTER))


def failure(failed: Exception) -> ImageRejected | TransientFailure:
    """The meaning of an exception of the client, raised before the reply had come."""
    wraps = isinstance(failed, ClientConnectorError | Disconnected)
    cause = (wraps and failed.__cause__) or failed
    if isinstance(cause, NameUnknown):
        return ImageRejected(Reason.DNS_FAILED, str(cause))
    if isinstance(cause, ClientHttpProxyError):
        return _proxy_refusal(cause.status)
    for kinds, refused in _REFUSALS:
        if isinstance(cause, kinds):
            return ImageRejected(*refused)
    if isinstance(cause, ConnectionTimeoutError | TimeoutError):
        return TransientFailure(ImageRejected(Reason.TIMEOUT, "no connection in time"))
    detail = type(cause).__name__
    if isinstance(cause, OSError | ClientConnectionError):
        return TransientFailure(ImageRejected(Reason.CONNECT_FAILED, detail))
    return ImageRejected(Reason.CONNECT_FAILED, f"no HTTP: {detail}")


_REFUSALS: tuple[tuple[tuple[type[Exception], ...], tuple[Reason, str]], ...] = (
    ((AddressForbidden,), (Reason.URI_FORBIDDEN, NOT_PUBLIC)),
    ((ssl.SSLError, ClientSSLError), (Reason.CONNECT_FAILED, "TLS failed")),
    ((SocketTimeoutError,), (Reason.TIMEOUT, "the server was silent for too long")),
    ((InvalidURL,), (Reason.URI_INVALID, "not a URL for the client")),
)


def body_failure(failed: ClientError | OSError) -> ImageRejected | TransientFailure:
    """The meaning of an exception of the client, raised while the body came."""
    if isinstance(failed, TimeoutError):
        return ImageRejected(Reason.TIMEOUT, "the body stopped coming")
    if isinstance(failed, ClientPayloadError | ClientConnectionError | OSError):
        return TransientFailure(ImageRejected(Reason.BODY_TRUNCATED, "the body ended early"))
    return ImageRejected(Reason.CONNECT_FAILED, f"no HTTP: {type(failed).__name__}")


def _proxy_refusal(status: int) -> ImageRejected | TransientFailure:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientFailure(
            ImageRejected(Reason.CONNECT_FAILED, f"the egress proxy answered {status}")
        )
    return ImageRejected(Reason.URI_FORBIDDEN, f"the egress proxy answered {status}")
