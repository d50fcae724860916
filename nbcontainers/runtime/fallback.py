"""What stands in for limits on a host whose cgroups do not hold them."""

from __future__ import annotations

import resource

from ..linux import limits as rules
from ..oci.runtime import RuntimeSpec
from .host import Host


def limits(
    spec: RuntimeSpec, host: Host, *, beside: int = 0
) -> tuple[list[tuple[int, int, int]], tuple[str, ...], int, int]:
    """What stands in for limits that no cgroup holds: (rlimits, what to tell the user, bytes of memory to watch, processes to watch).

    ``beside`` processes of our own, the supervisor of identities, live in the container's user namespace, where RLIMIT_NPROC counts them.
    """
    rlimits: list[tuple[int, int, int]] = []
    memory = processes = 0
    asked = spec.resources
    notes = [*host.hierarchy.unsupported(asked)]
    for controller in sorted(rules.asked(asked) - host.hierarchy.controllers - {"devices"}):
        if controller != "memory" or (asked.memory or 0) > 0:
            notes.append(host.without(controller, is_answered=beside > 0))
        if controller == "memory":
            memory = asked.memory or 0
            notes += [
                f"{called}: nothing here keeps it ({host.why_without(controller)})"
                for called in rules.beside_memory(asked)
            ]
        elif controller == "pids" and asked.pids and asked.pids > 0:
            if not host.is_viewed:  # where all of this user's processes would count
                rlimits.append((resource.RLIMIT_NPROC, asked.pids + beside, asked.pids + beside))
            # It counts the processes of one id of the host, and not those of root; see getrlimit(2).
            # Its supervisor counts those of root that has one id, if it has one.
            processes = 0 if host.counts_processes or (host.has_single_id and beside) else asked.pids
    if spec.cgroups_path and not host.hierarchy.parents:
        notes.append("cgroup parent: no cgroup can be made here")
    seen = spec.namespace("pid")
    if not (host.hierarchy.parents or host.is_viewed) and (seen is None or seen.path):
        notes.append(
            "processes: what the first one leaves behind goes on when it ends, for neither a pid namespace nor a cgroup ends it"
        )
    return rlimits, tuple(notes), max(0, memory), processes


def processors(spec: RuntimeSpec, host: Host) -> list[int]:
    """Those that its processes begin on where no cgroup says which: see sched_setaffinity(2)."""
    asked = spec.resources.cpuset_cpus
    return sorted(rules.members(asked)) if asked and "cpuset" not in host.hierarchy.controllers else []
