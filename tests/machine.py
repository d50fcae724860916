"""What tests share with all that runs on this machine: its ports, its mounts, its disk."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from pathlib import Path

from nbcontainers.linux import capabilities
from nbcontainers.runtime import host
from nbcontainers.store.garbage import discard
from nbcontainers.store.worker import Worker

IS_ADMIN = os.geteuid() == 0 and "CAP_SYS_ADMIN" in capabilities.bounding()
"""Whether this process is root with what that takes to mount on the host, and to share its namespaces."""


def free_port() -> int:
    """A port of the loopback that is free, and stays so: below those that the kernel gives to whoever wants any."""
    for port in random.sample(range(20000, 32000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a hundred ports are taken")


def mounts() -> set[str]:
    """What is mounted where this process sees it. Others come and go: a test waits until there is nothing but what there was."""
    return set(Path("/proc/self/mounts").read_text().splitlines())


def descriptors(pid: int) -> list[str]:
    """What a process has open, as its links tell; a shim looks at files now and then, and what it closes meanwhile is passed over."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def remove(tree: Path) -> None:
    """Remove a tree in which containers have written, whoever owns what is in it: an ordinary user may have a range of identities."""
    try:
        discard(tree)
    except PermissionError:
        worker = Worker(tree.parent, host.probe().identity)
        try:
            worker.remove(tree)
        finally:
            worker.close()
