"""One cgroup per container behind one interface, on cgroup v1, v2 and hybrids of both.

``hierarchies.detect`` finds, by trying, in which directories this process can make groups. ``Hierarchy.plan`` then says with plain
strings what has to be made and written, so that the process that starts a container needs no more than mkdir, open and write.

What kernels demand, and so what is done here:

- v1 has a tree per controller; a container gets a directory only in those that measure or limit it, since joining each costs
  a third of a millisecond. A ``cpuset`` must be filled before a process can join; the device rules are a list of writes.
- v2 has one tree, in which controllers are switched on for the children of a directory that itself holds no process
  ("no internal processes"; only the root of the machine is free of that rule), and our own cgroup most often holds at least us.
  Processes that are not ours are never moved. So the group is made beside our own cgroup, below the nearest one above it that
  takes it (under systemd the slice), as long as that does not lead out of a limit on memory or processors. Where there is
  none (a pod's cgroup namespace), groups can be made but not limited, and ``unenforced`` says so.
- A hybrid has v1 controllers and a v2 tree, most often without any: that still gives processor time, freeze and kill.

Groups are called ``nbcontainers-NAME`` and lie directly there: with no directory between that is shared, two
engines never remove what the other is about to use, and nothing is left when the last container is gone.

Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ in the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import Conflict, HostError, NBContainersError, NotFound
from ..oci.resources import DeviceRule, Resources
from . import devicefilter, groups
from . import limits as rules
from .meter import Meter

Version = Literal["v1", "v2", "hybrid", "none"]

PREFIX = "nbcontainers-"
UNIFIED = "unified"
V1 = ("memory", "pids", "cpu", "cpuacct", "cpuset", "io", "devices", "freezer")
V2 = ("memory", "pids", "cpu", "cpuset", "io")
_LIMITS = {
    "memory": "memory limit",
    "pids": "process limit",
    "cpu": "cpu limit",
    "cpuset": "choice of processors",
    "io": "block io limit",
}
_ANY = "\0"  # stands for a group's name, and is in none
_MOST_PLANS = 64
SWAP = {"memory.memsw.limit_in_bytes", "memory.swap.max"}


def renamed(paths: Iterable[str], name: str, other: str) -> list[str]:
    """Paths of a group and its files where the group is called otherwise; what is above it may have its name in it, too."""
    return [other.join(path.rsplit(name, 1)) for path in paths]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What has to be done, in this order, before a container's first process may run; all paths are absolute.

    1. ``directories``: make each.
    2. ``writes``: write each text into its file, with one write(2) each; a refusal is an error (``explain`` puts it in words).
    3. ``devices``, where there is something in it: (directory, program) for ``devicefilter.attach``.
    4. ``into``, where it is not empty: clone3 with CLONE_INTO_CGROUP into that directory, and nothing else is to be done.
       Else the process itself writes ``0`` into each of ``procs`` before it unshares its cgroup namespace.

    ``places`` are all the directories that the container may get when its limits are changed (see ``change``): to be removed, too.

    A process that joins later (exec) writes ``0`` into each of ``procs`` in either case. ``oom_file`` has a line ``oom_kill N``,
    the processes killed because memory ran out; empty where nobody counts. ``unenforced`` says in plain words which of the
    limits the kernel will not hold here, and why.
    """

    directories: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    writes: tuple[tuple[str, str], ...] = ()
    procs: tuple[str, ...] = ()
    into: str = ""
    oom_file: str = ""
    unenforced: tuple[str, ...] = ()
    devices: tuple[str, bytes] | None = None

    def called(self, name: str) -> Plan:
        """The plan of a group called so, where this one's is called ``_ANY``."""
        files, texts = zip(*self.writes, strict=True) if self.writes else ((), ())
        return Plan(
            directories=tuple(renamed(self.directories, _ANY, name)),
            places=tuple(renamed(self.places, _ANY, name)),
            writes=tuple(zip(renamed(files, _ANY, name), texts, strict=True)),
            procs=tuple(renamed(self.procs, _ANY, name)),
            into=renamed([self.into], _ANY, name)[0],
            oom_file=renamed([self.oom_file], _ANY, name)[0],
            unenforced=self.unenforced,
            devices=(renamed(self.devices[:1], _ANY, name)[0], self.devices[1]) if self.devices else None,
        )


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """Where this process can make groups. ``version`` is what is usable of what is mounted.

    ``parents`` has a directory per usable v1 controller, and ``unified`` for the v2 tree; ``controllers`` are those that can
    limit or measure, of both; ``refusals`` says of others why they cannot; ``swap``: whether the kernel counts swap;
    ``tops`` has where each of ``parents`` is mounted.

    The methods on one group find it by its name below our own cgroup; ``directories`` (those of its plan, kept by whoever
    started it) name it where a process in another cgroup made it.
    """

    version: Version
    controllers: frozenset[str] = frozenset()
    parents: Mapping[str, str] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    swap: bool = False
    tops: Mapping[str, str] = field(default_factory=dict)

    def plan(self, name: str, limits: Resources, *, devices: bool = True) -> Plan:
        """How to make the group of a container; nothing is touched yet.

        ``devices`` asks for Docker's device rules. Only root outside of user namespaces needs them: the nodes that others make
        cannot be opened. NBContainersError where a limit cannot be.
        """
        if not name or "/" in name:
            raise NBContainersError(f"a cgroup's name is one path component, got {name!r}")
        known = self._plans.get((limits, devices))
        if known is not None:
            return known.called(name)
        rules.check(limits)
        asked = rules.asked(limits) - {"devices"} | ({"devices"} if devices else frozenset())
        if asked & {"cpuset", "io"}:  # which ask what the group above has, and the disks
            return self._plan(name, limits, asked)
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        made = self._plans[limits, devices] = self._plan(_ANY, limits, asked)
        return made.called(name)

    @functools.cached_property
    def _plans(self) -> dict[tuple[Resources, bool], Plan]:
        """Those made so far, for a group called ``_ANY``: many containers are limited alike."""
        return {}

    def _plan(self, name: str, limits: Resources, asked: frozenset[str]) -> Plan:
        directories: dict[str, None] = {}
        writes: list[tuple[str, str]] = []
        for controller in self._needed(asked):
            directory = self._directory(controller, name)
            directories[directory] = None
            for file, text in self._writes(controller, limits):
                if self.swap or file not in SWAP:
                    writes.append((f"{directory}/{file}", text))
        oom = ""
        if "memory" in self.controllers:
            oom = "memory.oom_control" if "memory" in self.parents else "memory.events"
            oom = f"{self._directory('memory', name)}/{oom}"
        return Plan(
            directories=tuple(directories),
            places=tuple(dict.fromkeys(self._directory(controller, name) for controller in self.parents)),
            writes=tuple(writes),
            procs=tuple(f"{directory}/cgroup.procs" for directory in directories),
            into=next(iter(directories)) if self.version == "v2" else "",
            oom_file=oom,
            unenforced=tuple(self._unenforced(asked, limits)),
            devices=self._device_filter(name, limits) if "devices" in asked else None,
        )

    def _device_filter(self, name: str, limits: Resources) -> tuple[str, bytes] | None:
        """What holds a group to its device rules where there is no v1 controller that takes them."""
        if "devices" not in self.controllers or "devices" in self.parents:
            return None
        return self._directory("devices", name), device_program(tuple(limits.devices))

    def change(
        self, name: str, limits: Resources, places: Sequence[str]
    ) -> Iterator[tuple[str, tuple[rules.Write, ...]]]:
        """(the directory, what is to be written there) for each controller that these limits need; ``places`` are the plan's.

        A directory that is not there yet has to be made, and the container's processes to join it. HostError where a limit cannot
        be held.
        """
        rules.check(limits)
        wanted = rules.asked(limits) - {"devices"}
        if missing := sorted(wanted - self.controllers):
            why = self.refusals.get(missing[0]) or "this host gives us no such cgroup controller"
            raise HostError(f"{_LIMITS[missing[0]]}: {why}", hint="nbcontainers doctor shows what can be limited")
        for controller in sorted(wanted):
            tree = self.tops[controller if controller in self.parents else UNIFIED]
            directory = next((path for path in places if path.startswith(f"{tree}/") and path.endswith(name)), "")
            if not directory:
                raise HostError(f"{_LIMITS[controller]}: the container has no group for it", hint="start it anew")
            writes = rules.v1(controller, limits) if controller in self.parents else rules.v2(controller, limits)
            if controller == "cpuset" and controller in self.parents:
                above = os.path.dirname(directory)
                words = {"cpuset.cpus": limits.cpuset_cpus, "cpuset.mems": limits.cpuset_mems}
                writes = iter(
                    (file, text or groups.read(f"{directory}/{file}") or groups.read(f"{above}/{file}"))
                    for file, text in words.items()
                )
            yield directory, tuple((file, text) for file, text in writes if self.swap or file not in SWAP)

    def below(self, parent: str) -> tuple[Hierarchy, tuple[str, ...]]:
        """(where groups are made below another one, the directories that were made for that now, outer ones first).

        A parent that begins with a slash is named from the top of each tree, others from our own cgroup, as in Docker.

        Raises:
            NBContainersError: the parent leads out of the tree.
            HostError: it cannot be made.
        """
        names = [name for name in parent.split("/") if name]
        if not names or ".." in names or "." in names:
            raise NBContainersError(
                f"not a parent for a cgroup: {parent!r}", hint="a path such as /batch/mine, or mine"
            )
        made: list[str] = []
        places: dict[str, str] = {}
        controllers = set(self.controllers)
        for controller, own in self.parents.items():
            place = self.tops[controller] if parent.startswith("/") else own
            try:
                for name in names:
                    place = f"{place}/{name}"
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(place, 0o755)
                        made.append(place)
                    if controller == "cpuset":
                        groups.fill_cpuset(place)
                    elif controller == UNIFIED:
                        enabled = groups.switch_on(place, {}, V2)
                        controllers -= {word for word in V2 if word not in self.parents} - enabled
            except OSError as error:
                for directory in reversed(made):
                    with contextlib.suppress(OSError):
                        os.rmdir(directory)
                raise HostError(
                    f"the cgroup {place} cannot be made: {error.strerror}", hint="name one below a group that is yours"
                ) from error
            places[controller] = place
        return replace(self, parents=places, controllers=frozenset(controllers)), tuple(dict.fromkeys(made))

    @functools.cached_property
    def _counts_io(self) -> bool:
        """Whether v1 counts what goes to and from disks unasked: since Linux 6.10 it does not, not even for the whole machine."""
        top = self.tops.get("io", "")
        return "\n" in groups.read(f"{top}/blkio.throttle.io_service_bytes_recursive")

    def directories(self, name: str) -> tuple[str, ...]:
        """The directories of a group that are there below our own cgroup."""
        found = (f"{parent}/{PREFIX}{name}" for parent in dict.fromkeys(self.parents.values()))
        return tuple(path for path in found if os.path.isdir(path))

    def meter(self, name: str, *, directories: Sequence[str] = (), pid: int = 0) -> Meter:
        """A meter for the group, which keeps its files open. NotFound where there is no such group.

        ``pid`` is a process of it whose network is counted, too.
        """
        return Meter(self._existing(name, directories), pid=pid)

    def processes(self, name: str, *, directories: Sequence[str] = ()) -> tuple[int, ...]:
        """The processes of the group and of those below it, as this process's pid namespace numbers them."""
        return groups.processes(self._existing(name, directories))

    def freeze(self, name: str, *, directories: Sequence[str] = ()) -> None:
        """Stop every process of the group where it stands; returns when all of them do. HostError where nothing can."""
        groups.freeze(self._existing(name, directories), frozen=True)

    def thaw(self, name: str, *, directories: Sequence[str] = ()) -> None:
        """Let the processes of a frozen group go on."""
        groups.freeze(self._existing(name, directories), frozen=False)

    def kill(self, name: str, *, directories: Sequence[str] = (), timeout: float = 10.0) -> None:
        """End every process of the group with SIGKILL, also a frozen one; does nothing where there is no such group.

        Conflict where one is still there after ``timeout`` seconds.
        """
        with contextlib.suppress(NotFound):
            groups.kill(self._existing(name, directories), timeout=timeout)

    def remove(self, name: str, *, directories: Sequence[str] = (), timeout: float = 2.0) -> None:
        """Remove the group from every hierarchy; what is not there is not missed.

        The kernel answers EBUSY for a moment after the last process is gone: it is tried again until ``timeout`` seconds are
        over, and then it is a Conflict.
        """
        deadline = time.monotonic() + timeout
        for directory in directories or self.directories(name):
            pause = 0.001
            while not groups.remove(directory):
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"the cgroup of {name} is in use: {directory} cannot be removed",
                        hint="its processes must end first",
                    )
                time.sleep(pause)
                pause = min(pause * 2, 0.1)

    def sweep(self, alive: Collection[str], *, older_than: float = 10.0, waits: bool = False) -> tuple[str, ...]:
        """Remove the empty groups of ours whose names are not in ``alive``, and return those names.

        A group younger than ``older_than`` seconds may belong to a container that another engine is about to start; one that
        ``waits`` leaves none of those that are there now, unless somebody is in it by then.
        """
        found = [
            f"{parent}/{entry}"
            for parent in dict.fromkeys(self.parents.values())
            for entry in os.listdir(parent)
            if entry.startswith(PREFIX) and entry.removeprefix(PREFIX) not in alive
        ]
        swept = groups.sweep(found, older_than=older_than, waits=waits)
        return tuple(sorted({os.path.basename(path).removeprefix(PREFIX) for path in swept}))

    def _needed(self, asked: Collection[str]) -> Iterator[str]:
        if UNIFIED in self.parents:
            yield UNIFIED
        for controller in V1:
            if controller not in self.controllers:
                continue
            if controller in {"cpuacct", "freezer"} and UNIFIED in self.parents:
                continue  # the v2 tree counts processor time and freezes even without controllers
            if controller in {"cpu", "cpuset", "devices"} and controller not in asked:
                continue
            if controller == "io" and controller not in asked and not self._counts_io:
                continue
            yield controller

    def _directory(self, controller: str, name: str) -> str:
        return f"{self.parents.get(controller) or self.parents[UNIFIED]}/{PREFIX}{name}"

    def _writes(self, controller: str, limits: Resources) -> Iterable[rules.Write]:
        if controller == UNIFIED:
            return ()
        if controller not in self.parents:
            return rules.v2(controller, limits)
        if controller == "cpuset":  # empty in a new group, and then nobody can join it
            parent = self.parents[controller]
            return (
                ("cpuset.cpus", limits.cpuset_cpus or groups.read(f"{parent}/cpuset.cpus")),
                ("cpuset.mems", limits.cpuset_mems or groups.read(f"{parent}/cpuset.mems")),
            )
        return rules.v1(controller, limits)

    def _unenforced(self, asked: frozenset[str], limits: Resources) -> Iterator[str]:
        for controller in sorted(asked - self.controllers):
            why = self.refusals.get(controller) or "this host gives us no such cgroup controller"
            yield f"{_LIMITS.get(controller, 'device rules')}: {why}"
        yield from self.unsupported(limits)

    def unsupported(self, limits: Resources) -> Iterator[str]:
        """The limits that this kernel does not know although their controllers can be used, in plain words."""
        if (limits.memory_swap or 0) > 0 and "memory" in self.controllers and not self.swap:
            yield "swap limit: this kernel does not count swap"
        if (
            (limits.blkio_weight or limits.blkio_weight_devices)
            and "io" in self.controllers
            and not rules.weights_count()
        ):
            yield "block io weight: no disk here has the scheduler bfq, which alone heeds it"
        for controller, what in rules.only_v1(limits):
            if controller in self.controllers and controller not in self.parents:
                yield f"{what}: cgroup v2 has no such setting"

    def _existing(self, name: str, directories: Sequence[str]) -> tuple[str, ...]:
        there = tuple(path for path in directories if os.path.isdir(path)) or self.directories(name)
        if not there:
            raise NotFound(f"there is no cgroup of {name}")
        return there


def explain(path: str, text: str, error: OSError) -> NBContainersError:
    """The error to raise where the kernel refused a write of a plan: what was asked, why not, and what to do."""
    file = os.path.basename(path)
    match error.errno:
        case errno.EINVAL if file.startswith("cpu."):
            hint = "a group gets no more processor time than the group above it has"
        case errno.EINVAL | errno.ERANGE | errno.EACCES if file.startswith("cpuset."):
            hint = "the processors and memory nodes must be among those of the group above"
        case errno.EBUSY if file.startswith("memory."):
            hint = "more is in use than that, and cannot be taken away: stop the container first, or leave it more"
        case errno.ENOENT:
            hint = "this kernel does not know the limit"
        case errno.EPERM | errno.EACCES | errno.EROFS:
            hint = "this process may not change the cgroup; nbcontainers doctor shows what it may"
        case _:
            hint = ""
    return NBContainersError(f"the kernel refused to set {file} to {text!r}: {error.strerror}", hint=hint)


@functools.lru_cache(maxsize=16)
def device_program(own: tuple[DeviceRule, ...]) -> bytes:
    """Docker's device rules and a container's own, compiled for cgroup v2."""
    return devicefilter.program(rules.device_rules(Resources(devices=own)))
