"""The policy for fetching over HTTP(S), and the limits of one fetch."""

from __future__ import annotations

from dataclasses import dataclass

from clip_scoring.images.http.networks import Network


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Permitted addresses, and limits in seconds and bytes."""

    allowed_networks: tuple[Network, ...] = ()
    """Images may come from these although they are not public."""
    allowed_ports: tuple[int, ...] = (80, 443)
    allowed_hosts: tuple[str, ...] = ()
    """Exact names, in lower case, that may have addresses which are not public."""
    egress_proxy: str | None = None
    """Every request goes through this proxy, which then looks up the names."""
    connect_seconds: float = 3.0
    """For looking up the name, and as much again for connecting."""
    read_seconds: float = 5.0
    """The longest silence."""
    total_seconds: float = 20.0
    """All attempts and redirects together, without the wait for our own turn."""
    min_rate: int = 8 * 1024
    """Bytes per second, on average, once a body has been coming for `rate_after_seconds`."""
    rate_after_seconds: float = 3.0
    max_redirects: int = 3
    tries: int = 3
    """Attempts in all, for each redirect anew, where a failure may pass within seconds."""
    per_host: int = 8
    """Requests at once to one host."""
    connections: int = 256
    """Requests at once in all."""
    host_failures: int = 8
    """After this number of failed images in a row a host is given up on."""
    breaker_reset_seconds: float = 60.0
    """How long a host is given up on."""
    name_seconds: float = 60.0
    """How long the addresses of a name are remembered."""
    unknown_name_seconds: float = 5.0
    """How long it is remembered that a name is unknown."""
