"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """A port of the loopback that is free, and stays so: below those that the kernel gives to whoever wants any."""
    for port in random.sample(range(20000, 32000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a hundred ports are taken")
