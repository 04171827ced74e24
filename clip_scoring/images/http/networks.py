"""Which network addresses may be connected to: public ones, and networks allowed by name.

The table follows the IANA special-purpose address registries for IPv4 and IPv6, plus addresses
that clouds use for instance metadata. `ipaddress.is_global` alone is not enough: it lets through
NAT64, 6to4, IPv4-compatible and multicast addresses, among others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and metadata of one cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # metadata of one cloud, in public space
        "169.254.0.0/16",  # link-local, metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, metadata of one cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, among them Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which hides an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_V4_AT_THE_END = tuple(
    IPv6Network(network)
    for network in (
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 with a prefix of one's own
    )
)
_NO_V4 = frozenset({IPv6Address("::"), IPv6Address("::1")})


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation; raises ValueError naming the one that is not."""
    return tuple(ip_network(text) for text in texts)


def may_connect(address: str, allowed: Collection[Network] = ()) -> bool:
    """True when `address` (a literal as the resolver gives it) is public or in `allowed`.

    An IPv4 address that is mapped into IPv6 counts as IPv4. One that a translator or a tunnel
    would make of an IPv6 address has to be permitted beside the IPv6 address itself.
    """
    if "%" in address:
        return False
    literal: Address = ip_address(address)
    if isinstance(literal, IPv6Address) and literal.ipv4_mapped is not None:
        literal = literal.ipv4_mapped
    if _within(literal, allowed):
        hidden = _hidden(literal)
        return hidden is None or may_connect(str(hidden), allowed)
    if isinstance(literal, IPv4Address):
        return not _within(literal, _SPECIAL_V4)
    return literal in _PUBLIC_V6 and not _within(literal, _SPECIAL_V6)


def _within(literal: Address, networks: Collection[Network]) -> bool:
    """Whether the address is in one of the networks of its own version."""
    return any(literal in network for network in networks if network.version == literal.version)


def _hidden(literal: Address) -> IPv4Address | None:
    """Where a packet to this IPv6 address would come out in IPv4."""
    if isinstance(literal, IPv4Address) or literal in _NO_V4:
        return None
    if _within(literal, _V4_AT_THE_END):
        return IPv4Address(int(literal) & 0xFFFF_FFFF)
    if literal.sixtofour is not None:
        return literal.sixtofour
    return literal.teredo[1] if literal.teredo is not None else None
