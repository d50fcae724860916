"""Where this process can make groups, found by trying: below its *own* cgroup in each hierarchy.

So what limits this process (a pod, a batch job, a service) limits its containers too.

Source: cgroups(7); proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping

from . import devicefilter, groups
from . import limits as rules
from .cgroups import PREFIX, SWAP, UNIFIED, V1, V2, Hierarchy, Version, device_program

_WORDS = {"blkio": "io"}  # what v1 calls it, and v2


def detect(root: str = "/sys/fs/cgroup", proc: str = "/proc/self") -> Hierarchy:
    """Find by trying where this process can make groups; each try is taken back, but for v2 controllers switched on.

    ``root`` is above all mounts of cgroup file systems, and ``proc`` holds this process's ``cgroup`` and ``mountinfo``.
    """
    parents: dict[str, str] = {}
    tops: dict[str, str] = {}
    refusals: dict[str, str] = {}
    controllers: set[str] = set()
    swap = False
    for controller, (top, own) in _own(root, proc).items():
        directory, enabled = own, {controller}
        try:
            if controller == UNIFIED:
                directory, enabled = _v2_place(own, top, refusals)
            with _trial(directory) as trial:
                if groups.read(f"{trial}/cgroup.type") not in ("", "domain"):
                    raise OSError(errno.EOPNOTSUPP, "it holds threads, and no process gets into a group below it")
                if controller == "devices":
                    for file, text in rules.DEVICES:
                        groups.write(f"{trial}/{file}", text)
                names = {f"{place}/{file}" for place in (trial, directory) for file in SWAP}
                swap |= "memory" in enabled and any(map(os.path.exists, names))
        except OSError as error:
            where = (
                f"in {directory}" if controller == UNIFIED else f"below {os.path.dirname(top)}"
            )  # v1: for all one reason
            why = f"no group can be made {where}: {error.strerror}"
            refusals.update(dict.fromkeys(V2 if controller == UNIFIED else [controller], why))
            continue
        parents[controller] = directory
        tops[controller] = top
        controllers |= enabled
    version: Version = "none"
    if set(parents) == {UNIFIED}:
        version = "v2"
    elif parents:
        version = "hybrid" if UNIFIED in parents else "v1"
    if "devices" not in controllers and UNIFIED in parents:
        try:
            with _trial(parents[UNIFIED]) as trial:
                devicefilter.attach(trial, device_program(()))
            controllers.add("devices")
        except OSError as error:
            refusals["devices"] = f"cgroup v2 filters devices by a program, which the kernel refuses: {error.strerror}"
    kept = {key: why for key, why in refusals.items() if key not in controllers}
    return Hierarchy(
        version=version, controllers=frozenset(controllers), parents=parents, refusals=kept, swap=swap, tops=tops
    )


@contextlib.contextmanager
def _trial(directory: str) -> Iterator[str]:
    path = f"{directory}/{PREFIX}trial-{os.getpid()}-{time.monotonic_ns()}"
    os.mkdir(path, 0o755)
    try:
        yield path
    finally:
        os.rmdir(path)


def _v2_place(own: str, top: str, refusals: dict[str, str]) -> tuple[str, set[str]]:
    """Where groups with controllers can be made, and which: in our own cgroup, else in the one above it that has the most of them.

    As far as it may be: under no limit that is left behind, and where what is to be moved may be moved.
    """
    enabled = groups.switch_on(own, refusals, V2)
    if enabled:
        return own, enabled
    best, place = own, own
    while place != top and not _limited(place):
        place = os.path.dirname(place)
        if len(set(groups.read(f"{place}/cgroup.controllers").split()) & set(V2)) <= len(enabled):
            continue  # what is switched on there changes how others share, so not for nothing
        try:
            found = groups.switch_on(place, {}, V2)
        except OSError:  # not ours to write in, and what is above it is not either
            break
        if len(found) > len(enabled):
            best, enabled = place, found
    if enabled:
        refusals.update(dict.fromkeys(set(V2) - enabled, f"no group has it that is above {own} and ours to use"))
    return best, enabled


def _limited(directory: str) -> bool:
    """Whether a container would get more memory or processor time by not being below this group.

    Counts of processes do not matter: systemd gives every service and scope one, and the slices above hold another.
    """
    words = {
        name: groups.read(f"{directory}/{name}") for name in ("memory.max", "memory.high", "cpu.max", "cpuset.cpus")
    }
    return any(text and not text.startswith("max") for text in words.values())


def _canonical(controller: str) -> str:
    return _WORDS.get(controller, controller)


def _own(root: str, proc: str) -> Mapping[str, tuple[str, str]]:
    """Per v1 controller and for the v2 tree, as far as it is mounted and there: its top, and our own cgroup's directory."""
    own: dict[str, str] = {}
    for line in groups.read(f"{proc}/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(map(_canonical, names.split(",")) if names else [UNIFIED], path))
    found: dict[str, tuple[str, str]] = {}
    for line in groups.read(f"{proc}/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        top, point = fields.split(" ")[3:5]
        if kind not in {"cgroup", "cgroup2"} or not f"{point}/".startswith(f"{root}/"):
            continue
        words = [UNIFIED] if kind == "cgroup2" else map(_canonical, options.rpartition(" ")[2].split(","))
        for name in words:
            # Without a cgroup namespace a container's mount shows a part of the tree, and the path is the whole one.
            place = own.get(name, "") if name == UNIFIED or name in V1 else ""
            if not place or not f"{place}/".startswith(f"{top.rstrip('/')}/"):
                continue
            directory = point + place[len(top.rstrip("/")) :].rstrip("/")
            if os.path.isdir(directory):
                found.setdefault(name, (point, directory))
    return found
