"""Namespaces that a container shares: ``--ipc``, ``--pid``, ``--uts``, ``--cgroupns``, ``--userns``, and whose they are.

In config.json a namespace of another container is written as ``container:ID``; each start puts the process in its place that
is the other's first one by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..errors import Conflict, HostError, NBContainersError
from ..oci.runtime import Mount, Namespace, NamespaceType, RuntimeSpec
from ..results import ContainerState
from ..runtime import hints
from ..runtime.host import Host
from ..runtime.mountplan import PROCESS
from . import userns
from .options import RunOptions
from .userns import Userns

CONTAINER = "container:"
_LONGEST_NAME = 64  # __NEW_UTS_LEN of include/uapi/linux/utsname.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The words as Docker's HostConfig has them; those of another container with its whole ID."""

    ipc: str = "private"
    pid: str = ""
    uts: str = ""
    cgroupns: str = "private"
    userns: Userns = field(default_factory=Userns)


def read(options: RunOptions, find: Callable[[str], str], host: Host) -> Modes:
    """Read the words; ``find`` gives the ID of the container that a name stands for.

    NBContainersError for a word that means nothing, HostError for what this host does not allow.
    """
    space = userns.read(options.get("userns") or "", host)
    ipc = _word(options.get("ipc") or "private", "--ipc", ("none", "private", "shareable", "host"), find)
    pid = _word(options.get("pid") or "", "--pid", ("", "host"), find)
    for flag, word in (("--ipc", ipc), ("--pid", pid)):
        is_others = word.startswith(CONTAINER) and space.is_own
        if is_others or ((space.is_own or host.identity.userns) and (flag, word) == ("--pid", "host")):
            raise HostError(
                f"{flag} {options.get(flag[2:])}: the container lives in a user namespace of its own, from which no other's "
                "namespace can be entered",
                tier=host.tier,
                hint=f"leave out --userns {space.word}" if space.is_own else hints.of_privilege(),
            )
    _refuse_apart(options, host, ipc, pid)
    uts = _word(options.get("uts") or "", "--uts", ("", "host"), None)
    for word, name in (("hostname", options.get("hostname") or ""), ("domainname", options.get("domainname") or "")):
        if uts == "host" and name:
            raise NBContainersError(f"--{word} and --uts host", hint="with the host's name there is none of its own")
        if len(name.encode()) > _LONGEST_NAME or any(letter.isspace() for letter in name):
            raise NBContainersError(
                f"not a {word}: {name!r}", hint=f"wanted: at most {_LONGEST_NAME} bytes without a space, such as web-1"
            )
    cgroupns = _word(options.get("cgroupns") or "private", "--cgroupns", ("private", "host"), None)
    return Modes(ipc=ipc, pid=pid, uts=uts, cgroupns=cgroupns, userns=space)


def _refuse_apart(options: RunOptions, host: Host, ipc: str, pid: str) -> None:
    """What cannot be where a container lives in the user namespace of the one whose namespaces it shares."""
    if not host.identity.userns:
        return
    others = {word for word in (ipc, pid) if word.startswith(CONTAINER)}
    if len(others) > 1:
        raise HostError(
            "--ipc of one container and --pid of another: without privilege a container can live in one user namespace only",
            tier=host.tier,
            hint="share both with the same one",
        )
    if pid in others and host.has_single_id and "identity=off" not in options.get("security_opt", ()):
        raise HostError(
            f"--pid {options.get('pid')}: with a single id the supervisor of this container's identities would be among the "
            "other's processes, who could end it",
            tier=host.tier,
            hint="add --security-opt identity=off to do without other users, or run with a range of ids (tier T1)",
        )


def _word(word: str, flag: str, known: tuple[str, ...], find: Callable[[str], str] | None) -> str:
    if find is not None and word.startswith(CONTAINER):
        return CONTAINER + find(word.removeprefix(CONTAINER))
    if word not in known:
        words = [entry for entry in known if entry] + (["container:NAME"] if find else [])
        raise NBContainersError(f"invalid {flag} mode: {word!r}", hint=f"wanted: {', '.join(words)}")
    return word


def apply(spec: RuntimeSpec, modes: Modes) -> RuntimeSpec:
    """The specification with the namespaces that the modes leave it."""
    shared: tuple[tuple[NamespaceType, str], ...] = (
        ("ipc", modes.ipc),
        ("pid", modes.pid),
        ("uts", modes.uts),
        ("cgroup", modes.cgroupns),
    )
    for kind, word in shared:
        if word == "host":
            spec = spec.without_namespace(kind)
        elif word.startswith(CONTAINER):
            others = spec.without_namespace(kind).namespaces
            spec = replace(spec, namespaces=(*others, Namespace(type=kind, path=word)))
    other = next((word for _, word in shared if word.startswith(CONTAINER)), "")
    is_apart = spec.namespace("user") is not None
    if is_apart and other:  # only who lives in the user namespace that a namespace belongs to can enter it
        namespaces = (*spec.without_namespace("user").namespaces, Namespace(type="user", path=other))
        spec = replace(spec, namespaces=namespaces, uid_mappings=(), gid_mappings=())
    if modes.uts == "host":
        spec = replace(spec, hostname="")
    if modes.ipc == "none":
        spec = replace(spec, mounts=tuple(mount for mount in spec.mounts if mount.destination != "/dev/shm"))
    elif modes.ipc == "host" or modes.ipc.startswith(CONTAINER):
        shown = (_shown(mount, modes.ipc, has_userns=is_apart and not other) for mount in spec.mounts)
        spec = replace(spec, mounts=tuple(mount for mount in shown if mount is not None))
    return spec


def hostname(asked: str, identifier: str, *, of_host: bool) -> str:
    """What a container's files of names call it: as was asked for, else by its number, or as the host where that has its network.

    As in Docker, one that has the host's name inside (``--uts host``) and a network of its own is known by its number to others.
    """
    return asked or (os.uname().nodename if of_host else identifier[:12])


def hostname_of(spec: RuntimeSpec, identifier: str) -> str:
    """The same of a container that is made."""
    return hostname(spec.hostname, identifier, of_host=spec.namespace("network") is None)


def _shown(mount: Mount, word: str, *, has_userns: bool) -> Mount | None:
    """What stands for a mount that belongs to the IPC namespace: the host's, or the other container's.

    The file system of message queues shows those of the namespace that it is mounted in, which a user namespace's root may not
    do with the host's: there it is bound, if the host has it mounted.
    """
    is_queues = mount.type == "mqueue"
    if not is_queues and (mount.destination, mount.type) != ("/dev/shm", "tmpfs"):
        return mount
    if is_queues and not has_userns:
        return mount
    if is_queues and not os.path.ismount(mount.destination):
        return None
    extra = () if word == "host" else (f"{PROCESS}={word}",)
    return Mount(
        destination=mount.destination, type="bind", source=mount.destination, options=("bind", "rprivate", *extra)
    )


def resolve(spec: RuntimeSpec, state_of: Callable[[str], tuple[ContainerState, str]]) -> RuntimeSpec:
    """The specification with the processes of other containers in the place of their IDs.

    ``state_of`` gives a container's state and the mode of its own IPC namespace. Conflict where the other does not run, or does
    not share its IPC.
    """
    if not any(entry.path.startswith(CONTAINER) for entry in spec.namespaces):
        return spec
    pids: dict[str, int] = {}
    namespaces = []
    for entry in spec.namespaces:
        if entry.path.startswith(CONTAINER):
            state, ipc = state_of(entry.path.removeprefix(CONTAINER))
            if state.status not in ("running", "paused"):
                raise Conflict(
                    f"container {state.name} does not run, so nothing of it can be shared", hint="start it first"
                )
            if entry.type == "ipc" and ipc != "shareable":
                raise Conflict(
                    f"container {state.name} does not share its IPC: its mode is {ipc!r}",
                    hint="it was to be made with --ipc shareable",
                )
            pids[entry.path] = state.pid
            entry = replace(entry, path=f"/proc/{state.pid}/ns/{_FILES.get(entry.type, entry.type)}")  # noqa: PLW2901
        namespaces.append(entry)
    mounts = tuple(
        replace(
            mount,
            options=tuple(
                f"{PROCESS}={pids[word.partition('=')[2]]}" if word.startswith(f"{PROCESS}=") else word
                for word in mount.options
            ),
        )
        for mount in spec.mounts
    )
    return replace(spec, namespaces=tuple(namespaces), mounts=mounts)


def lives_in(spec: RuntimeSpec) -> str:
    """The ID of another container in whose user namespace one is to live, if so."""
    return next((entry.path.removeprefix(CONTAINER) for entry in spec.namespaces if entry.type == "user"), "")


_FILES = {"network": "net", "mount": "mnt"}
