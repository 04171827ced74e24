"""Forbidden addresses, and the spellings by which somebody may try to reach them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

V4 = (
    "0.0.0.0", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.0.0.53", "127.255.255.254", "168.63.129.16",
    "169.254.0.1", "169.254.42.42", "169.254.169.254", "172.16.0.1", "172.17.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.255", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
)  # fmt: skip
V6 = (
    "::", "::1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",
    "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "2620:4f:8000::1",
    "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1",
    "fec0::1", "ff02::1", "ff0e::1", "::ffff:7f00:1", "::ffff:a9fe:a9fe",
)  # fmt: skip
FORBIDDEN = (*V4, *V6)
PUBLIC = "93.184.216.34"
_WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
_CIRCLED = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")
_BOLD = str.maketrans("0123456789", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗")


@dataclass(frozen=True)
class Case:
    """One attempt to reach a forbidden address."""

    name: str
    uri: str
    answers: tuple[tuple[str, ...], ...] = ()
    """What the resolver says about NAME, one after the other."""
    again: int = 1
    """How often the same address is asked for."""


def cases(address: str, server: str, number: int) -> list[Case]:
    """Every spelling of an address; redirects start at `server`, names end in `number`."""
    host = f"[{address}]" if ":" in address else address
    spelled = _hosts_v6(address) if ":" in address else _hosts_v4(address)
    return [
        *(Case(name, f"http://{spelling}/") for name, spelling in spelled.items()),
        *(Case(name, text) for name, text in _around(host).items()),
        *_redirects(host, server),
        *_names(address, f"n{number}.example"),
    ]


def _hosts_v4(address: str) -> dict[str, str]:
    value, parts = int(IPv4Address(address)), [int(each) for each in address.split(".")]
    a, b, c, d = parts
    high, low = f"{value >> 16:x}", f"{value & 0xFFFF:x}"
    unlike, unlow = f"{(value >> 16) ^ 0xFFFF:x}", f"{(value & 0xFFFF) ^ 0xFFFF:x}"
    return {
        "plain": address,
        "decimal": str(value),
        "hex": f"0x{value:x}",
        "HEX": f"0X{value:08X}",
        "octal": f"0{value:o}",
        "dotted octal": ".".join(f"0{each:o}" for each in parts),
        "dotted hex": ".".join(f"0x{each:x}" for each in parts),
        "zeros": ".".join(f"{each:04o}" for each in parts),
        "two parts": f"{a}.{value & 0xFFFFFF}",
        "three parts": f"{a}.{b}.{value & 0xFFFF}",
        "mixed": f"0x{a:x}.0{b:o}.{c}.{d}",
        "full width": address.translate(_WIDE),
        "circled": address.translate(_CIRCLED),
        "bold": address.translate(_BOLD),
        "ideographic stop": address.replace(".", "。"),
        "full width stop": address.replace(".", "．"),
        "half width stop": address.replace(".", "｡"),
        "soft hyphen": f"{address[0]}\u00ad{address[1:]}",
        "zero width": f"{address[0]}\u200b{address[1:]}",
        "trailing dot": f"{address}.",
        "two trailing dots": f"{address}..",
        "percent digits": quote(address[0]).replace(address[0], f"%3{address[0]}") + address[1:],
        "percent stops": address.replace(".", "%2e"),
        "in brackets": f"[{address}]",
        "mapped": f"[::ffff:{address}]",
        "mapped hex": f"[::FFFF:{high}:{low}]",
        "mapped whole": f"[0:0:0:0:0:ffff:{high}:{low}]",
        "compatible": f"[::{address}]",
        "NAT64": f"[64:ff9b::{high}:{low}]",
        "NAT64 local": f"[64:ff9b:1::{high}:{low}]",
        "6to4": f"[2002:{high}:{low}::]",
        "Teredo": f"[2001:0:808:808:0:0:{unlike}:{unlow}]",
        "mapped zone": f"[::ffff:{address}%25lo]",
    }


def _hosts_v6(address: str) -> dict[str, str]:
    literal = IPv6Address(address)
    tail = IPv4Address(int(literal) & 0xFFFF_FFFF)
    front = literal.exploded.rsplit(":", 2)[0]
    return {
        "plain": f"[{address}]",
        "whole": f"[{literal.exploded}]",
        "WHOLE": f"[{literal.exploded.upper()}]",
        "no zeros": f"[{':'.join(f'{int(each, 16):x}' for each in literal.exploded.split(':'))}]",
        "dotted tail": f"[{front}:{tail}]",
        "zone": f"[{address}%25lo]",
        "zone in full": f"[{address}%lo]",
        "zone number": f"[{address}%251]",
        "no zone": f"[{address}%25]",
        "without brackets": address,
        "percent brackets": f"%5b{address}%5d",
        "percent colons": f"[{address.replace(':', '%3a')}]",
        "trailing dot": f"[{address}].",
        "dot inside": f"[{address}.]",
        "two brackets": f"[[{address}]]",
        "full width": f"[{address.translate(_WIDE)}]",
        "tunnel name": f"{literal.exploded.replace(':', '-')}.ipv6-literal.net",
        "IP version": f"[v6.{address}]",
    }


def _around(host: str) -> dict[str, str]:
    """Whole addresses that some parser takes for one of another host."""
    return {
        "https": f"https://{host}/",
        "SCHEME": f"HTTP://{host}/",
        "port": f"http://{host}:80/",
        "port with zeros": f"http://{host}:00080/",
        "port with sign": f"http://{host}:+80/",
        "empty port": f"http://{host}:/",
        "user": f"http://{PUBLIC}@{host}/",
        "user and password": f"http://{PUBLIC}:80@{host}/",
        "two users": f"http://a@{PUBLIC}@{host}/",
        "empty user": f"http://@{host}/",
        "fragment": f"http://{host}#@{PUBLIC}/",
        "query": f"http://{host}?@{PUBLIC}/",
        "path": f"http://{host}/@{PUBLIC}/",
        "backslash": f"http://{PUBLIC}\\@{host}/",
        "backslash after": f"http://{host}\\@{PUBLIC}/",
        "backslashes": f"http:\\\\{host}/",
        "tab": f"http://\t{host}/",
        "tab in scheme": f"ht\ttp://{host}/",
        "line": f"http://{host}\r\n/",
        "space before": f" http://{host}/",
        "control before": f"\x01http://{host}/",
        "space in host": f"http://{PUBLIC} {host}/",
        "NUL": f"http://{host}\x00.example/",
        "one slash": f"http:/{host}/",
        "no slash": f"http:{host}/",
        "three slashes": f"http:///{host}/",
        "no scheme": f"//{host}/",
        "other scheme": f"gopher://{host}/",
        "url: scheme": f"url:http://{host}/",
    }


def _redirects(host: str, server: str) -> list[Case]:
    def hop(status: int, target: str) -> str:
        return f"{server}/{status}?{quote(target, safe='')}"

    to = f"http://{host}/"
    return [
        *(Case(f"redirect {each}", hop(each, to)) for each in (301, 302, 303, 307, 308)),
        Case("redirect without scheme", hop(302, f"//{host}/")),
        Case("redirect with user", hop(302, f"http://{server[7:]}@{host}/")),
        Case("redirect with backslash", hop(302, f"http:\\\\{host}/")),
        Case("redirect chain", hop(307, hop(302, to))),
        Case("redirect long chain", hop(308, hop(307, hop(302, to)))),
    ]


def _names(address: str, name: str) -> list[Case]:
    other = "2606:4700:4700::1111"
    return [
        Case("name", f"http://a.{name}/", ((address,),)),
        Case("NAME.", f"http://A.{name.upper()}./", ((address,),)),
        Case("name over https", f"https://a.{name}/", ((address,),)),
        Case("public answer first", f"http://b.{name}/", ((PUBLIC, address),)),
        Case("public answer last", f"http://b.{name}/", ((address, PUBLIC),)),
        Case("in a crowd", f"http://b.{name}/", ((PUBLIC, other, address, PUBLIC),)),
        Case("answer with zone", f"http://b.{name}/", ((PUBLIC, f"{address}%lo"),)),
        Case("rebinding", f"http://c.{name}/", ((address,), (PUBLIC,), (address,)), again=3),
    ]
