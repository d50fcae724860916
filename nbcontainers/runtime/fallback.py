"""What stands in for limits on a host whose cgroups do not hold them."""

from __future__ import annotations

import resource

from ..linux import limits as rules
from ..oci.runtime import RuntimeSpec
from .host import Host
from .identity import policy


def is_answered(spec: RuntimeSpec, host: Host) -> bool:
    """Whether a supervisor answers for identities: there is but one id, and nobody says (``policy.IDENTITY``) that none is wanted."""
    return host.has_single_id and spec.annotations.get(policy.IDENTITY) != "off"


def uncounted(spec: RuntimeSpec, host: Host) -> int:
    """Processes and threads at most, where we are to count them; 0 where the kernel does, or there may be any number.

    RLIMIT_NPROC counts the processes of one id of the host, and not those of root; see getrlimit(2).
    """
    return 0 if "pids" in host.hierarchy.controllers or host.counts_processes else max(0, spec.resources.pids or 0)


def limits(spec: RuntimeSpec, host: Host) -> tuple[list[tuple[int, int, int]], tuple[str, ...], int, int]:
    """What stands in for limits that no cgroup holds: (rlimits, what to tell the user, bytes of memory to watch, processes to watch).

    A supervisor of identities lives in the container's user namespace, where RLIMIT_NPROC counts it; it counts processes itself.
    """
    rlimits: list[tuple[int, int, int]] = []
    memory, beside = 0, is_answered(spec, host)
    asked = spec.resources
    notes = [*host.hierarchy.unsupported(asked)]
    for controller in sorted(rules.asked(asked) - host.hierarchy.controllers - {"devices"}):
        if controller != "memory" or (asked.memory or 0) > 0:
            notes.append(host.without(controller, is_answered=beside))
        if controller == "memory":
            memory = asked.memory or 0
            notes += [
                f"{called}: nothing here keeps it ({host.why_without(controller)})"
                for called in rules.beside_memory(asked)
            ]
        elif controller == "pids" and asked.pids and asked.pids > 0 and not host.is_viewed:
            # Where containers are viewed all of this user's processes would count.
            rlimits.append((resource.RLIMIT_NPROC, asked.pids + beside, asked.pids + beside))
    if spec.cgroups_path and not host.hierarchy.parents:
        notes.append("cgroup parent: no cgroup can be made here")
    seen = spec.namespace("pid")
    if not (host.hierarchy.parents or host.is_viewed) and (seen is None or seen.path):
        notes.append(
            "processes: what the first one leaves behind goes on when it ends, for neither a pid namespace nor a cgroup ends it"
        )
    return rlimits, tuple(notes), max(0, memory), 0 if beside else uncounted(spec, host)


def processors(spec: RuntimeSpec, host: Host) -> list[int]:
    """Those that its processes begin on where no cgroup says which: see sched_setaffinity(2)."""
    asked = spec.resources.cpuset_cpus
    return sorted(rules.members(asked)) if asked and "cpuset" not in host.hierarchy.controllers else []
