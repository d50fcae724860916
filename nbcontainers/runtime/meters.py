"""What measures a container while it runs: its cgroups, or its processes where it has none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from ..errors import NotFound
from ..linux import counters, smallfiles
from ..linux.cgroups import Hierarchy
from ..linux.processes import ProcessTreeMeter
from ..results import NetworkUse, Usage
from . import processes, tracees
from .execution import ask

_PATIENCE_S = 1.0


class Meter(Protocol):
    """Gives samples of what a container uses, and keeps open between them what that needs."""

    def sample(self) -> Usage:
        """One sample, now."""

    def close(self) -> None:
        """Let go of what is open."""


def meter(pid: int, extra: Mapping[str, Any], hierarchy: Hierarchy) -> Meter:
    """What measures the container whose first process has a pid; ``extra`` is what its shim noted. NotFound if it is gone."""
    own = pid if _has_own_network(pid) else 0
    if extra.get("cgroup_directories"):
        return hierarchy.meter(extra["cgroup"], directories=extra["cgroup_places"], pid=own)
    return _TreeMeter(pid, extra, network=own)


class _TreeMeter(ProcessTreeMeter):
    """Counts over the container's processes, commands that were entered among them; knows the limits that no kernel holds it to."""

    def __init__(self, pid: int, extra: Mapping[str, Any], *, network: int) -> None:
        super().__init__(pid, others=lambda: _entered(pid, extra), held=self._tell)
        self._limits = extra.get("limits") or {}
        self._network = network
        self._socket = extra.get("socket", "")

    def sample(self) -> Usage:
        """One sample, with the limits."""
        usage = super().sample()
        return usage._replace(
            cpu_limit=self._limits.get("cpus"),
            memory_limit=self._limits.get("memory"),
            processes_limit=self._limits.get("pids"),
            network=self._interfaces(),
        )

    def _tell(self) -> int:
        """What its shim counts, which alone can look at it; one that does not answer is not asked again."""
        try:
            return int(ask(self._socket, {"do": "memory"}, _PATIENCE_S)[1]) if self._socket else 0
        except OSError:
            self._socket = ""
            return 0

    def _interfaces(self) -> tuple[NetworkUse, ...] | None:
        if not self._network:
            return None
        try:
            with open(f"/proc/{self._network}/net/dev", "rb") as file:
                return counters.network(file.read())
        except OSError as error:
            if error.errno in smallfiles.NO_ROOM:
                raise
            raise NotFound(f"process {self._network} is gone") from error


def _entered(pid: int, extra: Mapping[str, Any]) -> list[int]:
    """The commands that were entered beside a container's first process: those children of its shim that live as deep as it, or those
    that PRoot traces.
    """
    shim = extra.get("shim", 0)
    if loader := extra.get(tracees.LOADER):
        return [root for root in tracees.roots(loader, tracees.tracers(shim)) if root != pid]
    depth = processes.depth(pid)
    return [child for child in processes.children(shim) if child != pid and processes.depth(child) == depth]


def _has_own_network(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    except PermissionError:  # who may not look at its namespaces knows that they are not his own
        return True
    except OSError as error:
        raise NotFound(f"process {pid} is gone") from error
