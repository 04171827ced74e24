"""Web addresses: read once, by the parser of the client, and judged as the client read them."""

from __future__ import annotations

import re
from unicodedata import category

from yarl import URL

from clip_scoring.images.http.networks import may_connect
from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason

_MAX_LENGTH = 2048
_PLAIN = re.compile(r"[!-\[\]-~]*")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_UNPARSED = (ValueError, IndexError)
"""Errors of the parser; it looks for the host behind `@` without asking if there is one."""
_QUAD = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")


def parse_url(text: str) -> URL:
    """The URL as the client will use it, byte by byte where it is ASCII; raises ImageRejected."""
    if len(text) > _MAX_LENGTH:
        raise ImageRejected(Reason.URI_INVALID, f"{len(text)} characters, limit {_MAX_LENGTH}")
    if not _PLAIN.fullmatch(text) and any(e == "\\" or category(e) in _UNSEEN for e in text):
        raise ImageRejected(Reason.URI_INVALID, "white space, control characters or a backslash")
    try:
        # Quoting anew would break the signature of a signed address.
        return URL(text, encoded=text.isascii())
    except _UNPARSED as broken:
        raise ImageRejected(Reason.URI_INVALID, "not a URL") from broken


def redirected(url: URL, location: str) -> URL:
    """Where a redirect from `url` leads; raises ImageRejected."""
    try:
        target = url.join(parse_url(location))
    except _UNPARSED as broken:
        raise ImageRejected(Reason.URI_INVALID, "redirect to what is no URL") from broken
    if url.scheme == "https" and target.scheme != "https":
        raise ImageRejected(Reason.URI_FORBIDDEN, "redirect from https to another scheme")
    return target


def check_url(url: URL, policy: HttpPolicy) -> None:
    """Raise ImageRejected unless scheme, port and host of the URL may be asked."""
    if url.scheme and url.scheme not in {"http", "https"}:
        raise ImageRejected(Reason.URI_FORBIDDEN, "only http and https")
    try:
        host, port = url.raw_host, url.port
    except _UNPARSED as broken:
        raise ImageRejected(Reason.URI_INVALID, "not a URL") from broken
    if not url.scheme or not host:
        raise ImageRejected(Reason.URI_INVALID, "not an absolute URL")
    if "@" in url.raw_authority:
        raise ImageRejected(Reason.URI_FORBIDDEN, "user information in the URL")
    if port not in policy.allowed_ports:
        raise ImageRejected(Reason.URI_FORBIDDEN, f"port {port} is not allowed")
    _check_host(host, policy)


def host_name(url: URL) -> str:
    """The host as one name whatever its spelling, to compare hosts by."""
    return (url.raw_host or "").lower().rstrip(".")


def _check_host(host: str, policy: HttpPolicy) -> None:
    if ":" in host:
        _check_literal(host, policy)
    elif not _NAME.fullmatch(host):
        raise ImageRejected(Reason.URI_INVALID, "not a host name")
    elif _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        if not _QUAD.fullmatch(host):
            raise ImageRejected(Reason.URI_FORBIDDEN, "an IPv4 address in an unusual spelling")
        _check_literal(host, policy)
    elif policy.egress_proxy is not None:
        _check_name(host.lower().rstrip("."), policy)


def _check_literal(host: str, policy: HttpPolicy) -> None:
    try:
        permitted = may_connect(host, policy.allowed_networks)
    except ValueError as broken:
        raise ImageRejected(Reason.URI_INVALID, "not an IP address") from broken
    if not permitted:
        raise ImageRejected(Reason.URI_FORBIDDEN, NOT_PUBLIC)


def _check_name(name: str, policy: HttpPolicy) -> None:
    """Names are looked up by the proxy, but this one would mean the proxy itself."""
    if name.rpartition(".")[2] == "localhost" and name not in policy.allowed_hosts:
        raise ImageRejected(Reason.URI_FORBIDDEN, NOT_PUBLIC)


NOT_PUBLIC = "the host has an address that is not public"
