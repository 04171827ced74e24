"""Which addresses may be connected to: none that any registry calls special."""

from __future__ import annotations

import pytest

from clip_scoring.images.http.networks import may_connect, parse_networks

SPECIAL = [
    "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1",
    "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.168.255.255",
    "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.255", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::127.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1",
    "2001:10::1", "2001:20::1", "2001:1ff::1", "2001:db8::1", "2002::1", "2002:7f00:1::1",
    "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2000::1", "2001:200::1",
    "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111", "2a00:1450:4001:800::200e",
]  # fmt: skip


@pytest.mark.parametrize("address", SPECIAL)
def test_a_special_address_is_never_connected(address: str) -> None:
    assert may_connect(address) is False


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected(address: str) -> None:
    assert may_connect(address) is True


@pytest.mark.parametrize("address", [each for each in SPECIAL if ":" not in each])
def test_a_special_ipv4_address_is_special_when_mapped_to_ipv6_as_well(address: str) -> None:
    assert may_connect(f"::ffff:{address}") is False


@pytest.mark.parametrize("address", ["::ffff:8.8.8.8", "::ffff:101:101"])
def test_a_mapped_public_address_is_public(address: str) -> None:
    assert may_connect(address) is True


@pytest.mark.parametrize("address", ["fe80::1%eth0", "fe80::1%2", "2606:4700:4700::1111%eth0"])
def test_an_address_with_a_zone_is_never_connected(address: str) -> None:
    assert may_connect(address, parse_networks(["::/0"])) is False


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.0.0/16"),
        ("::ffff:10.1.2.3", "10.1.0.0/16"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("fd00::5", "fd00::/8"),
        ("::1", "::1/128"),
    ],
)
def test_a_special_address_in_an_allowed_network_may_be_connected(
    address: str, network: str
) -> None:
    assert may_connect(address, parse_networks([network])) is True


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.2.0.1", "10.1.0.0/16"),
        ("::1", "127.0.0.0/8"),
        ("127.0.0.1", "::/0"),
        ("fd00::5", "10.0.0.0/8"),
        ("2002:a01:203::1", "10.0.0.0/8"),
        ("64:ff9b::a01:203", "10.0.0.0/8"),
        ("::10.1.2.3", "10.0.0.0/8"),
    ],
)
def test_an_allowed_network_allows_nothing_beside_itself(address: str, network: str) -> None:
    assert may_connect(address, parse_networks([network])) is False


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("64:ff9b::a9fe:a9fe", "64:ff9b::/96"),
        ("64:ff9b::7f00:1", "::/0"),
        ("64:ff9b:1::a00:1", "64:ff9b:1::/48"),
        ("2002:7f00:1::1", "2002::/16"),
        ("2001:0:808:808::80ff:fffe", "2001::/32"),
        ("::127.0.0.1", "::/96"),
        ("::ffff:10.1.2.3", "::ffff:0:0/96"),
        ("::ffff:10.1.2.3", "::/0"),
    ],
)
def test_a_network_that_leads_into_ipv4_allows_no_private_address_there(
    address: str, network: str
) -> None:
    assert may_connect(address, parse_networks([network])) is False


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("64:ff9b::808:808", ["64:ff9b::/96"]),
        ("64:ff9b::a00:1", ["64:ff9b::/96", "10.0.0.0/8"]),
        ("2002:808:808::1", ["2002::/16"]),
        ("::1", ["::1/128"]),
        ("::1", ["::/0"]),
    ],
)
def test_a_network_that_leads_into_ipv4_allows_what_is_allowed_there(
    address: str, networks: list[str]
) -> None:
    assert may_connect(address, parse_networks(networks)) is True


def test_one_of_several_allowed_networks_is_enough() -> None:
    assert may_connect("192.168.7.7", parse_networks(["fd00::/8", "10.0.0.0/8", "192.168.7.0/24"]))


def test_allowed_networks_do_not_close_the_public_ones() -> None:
    assert may_connect("8.8.8.8", parse_networks(["10.0.0.0/8"])) is True


@pytest.mark.parametrize("text", ["intranet", "10.0.0.1/8", "10.0.0.0/33", "", "10.0.0"])
def test_a_text_that_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"^'?{text}"):
        parse_networks(["10.0.0.0/8", text])


@pytest.mark.parametrize("address", ["localhost", "", "127.1", "0x7f000001", "127。0。0。1"])
def test_a_text_that_is_no_address_is_an_error_and_never_a_permission(address: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        may_connect(address)
