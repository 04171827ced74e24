"""Ports that nobody else takes between the moment they are chosen and the moment they are used."""

from __future__ import annotations

from random import SystemRandom

from stack.postgres import free_port

BELOW_CLIENTS = range(15_000, 30_000)
"""Below those that the kernel gives to clients and to servers that ask for any."""


def port_to_keep() -> int:
    """A free TCP port of 127.0.0.1, unlikely to be chosen by another process of these tests."""
    while True:
        wish = SystemRandom().choice(BELOW_CLIENTS)
        if free_port(wish) == wish:
            return wish
