"""What tests share with all that runs on this machine: its ports, its mounts."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path


def free_port() -> int:
    """A port of the loopback that is free, and stays so: below those that the kernel gives to whoever wants any."""
    for port in random.sample(range(20000, 32000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a hundred ports are taken")


def mounts() -> set[str]:
    """What is mounted where this process sees it. Others come and go: a test waits until there is nothing but what there was."""
    return set(Path("/proc/self/mounts").read_text().splitlines())
