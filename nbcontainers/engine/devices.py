"""Devices of the host that a container is to have: ``--device`` and ``--device-cgroup-rule``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import NBContainersError, NotFound
from ..linux.idmap import Identity
from ..oci.resources import DeviceRule
from ..oci.runtime import Device, Mount
from .mounts import inside

_HINT = "write /dev/HOST[:/dev/INSIDE][:rwm]"
_NOT_DEVICES = frozenset("pts shm fd mqueue stdin stdout stderr core ptmx console".split())
# What each container has of its own, and keeps: a link, or what its terminal is mounted on.
_OWN = frozenset(f"/dev/{name}" for name in "stdin stdout stderr ptmx console".split())
_VERBS = {"r": "reading", "w": "writing"}
_RULE = re.compile(r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Nodes to make inside with the rules that let them be opened, or, in a user namespace, binds of the host's nodes."""

    devices: tuple[Device, ...] = ()
    rules: tuple[DeviceRule, ...] = ()
    binds: tuple[Mount, ...] = ()


def give(words: Sequence[str], rules: Sequence[str], *, bound: bool) -> Given:
    """Read the words of ``--device`` and ``--device-cgroup-rule``; where no device can be made, the host's nodes are ``bound``.

    A folder of the host stands for every device in it, as in Docker.
    """
    found, allowed, binds = [], [], []
    for word in words:
        for source, target, access in _nodes(word):
            status = os.stat(source)
            kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
            major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
            if bound:
                if access != "rwm":
                    raise NBContainersError(
                        f"--device {word}: without privilege there are no device rules, so {access!r} cannot be kept",
                        hint="leave the permissions out: those of the host's node hold",
                    )
                # Read-only are the node's mode and owner, which are the host's, not what is behind it.
                options = ("bind", "rprivate", "ro")
                binds.append(Mount(destination=target, type="bind", source=source, options=options))
                continue
            found.append(
                Device(
                    path=target,
                    type=kind,
                    major=major,
                    minor=minor,
                    mode=stat.S_IMODE(status.st_mode),
                    uid=status.st_uid,
                    gid=status.st_gid,
                )
            )
            allowed.append(DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access))
    return Given(devices=tuple(found), rules=(*allowed, *map(rule, rules)), binds=tuple(binds))


def closed(words: Sequence[str], callers: Identity | None) -> Iterator[str]:
    """Which of the devices of ``--device``, bound into a user namespace, root of that cannot open as it is asked for, in plain words.

    ``callers`` are the ids of a namespace whose root is the caller; in any other its root is nobody to the host's nodes.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        for source, _, access in _nodes(word):
            lost = [verb for letter, verb in _VERBS.items() if letter in access and not _opens(source, letter, callers)]
            if lost:
                found.setdefault(" and ".join(lost), []).append(source)
    why = "this user may not" if callers else "their owners do not exist in its user namespace"
    for how, nodes in found.items():
        yield f"devices that cannot be opened inside for {how}: {', '.join(nodes)} ({why})"


def unruled(words: Sequence[str], rules: Sequence[str]) -> Iterator[str]:
    """What is not kept of ``--device`` and ``--device-cgroup-rule`` where there are no device rules, in plain words."""
    if rules:
        yield "device rules: none can be set here"
    if narrowed := [source for word in words for source, _, access in _nodes(word) if access != "rwm"]:
        yield f"devices that can be opened in every way, for no device rules can be set here: {', '.join(narrowed)}"


def _opens(path: str, letter: str, callers: Identity | None) -> bool:
    """Whether root of a user namespace may open a node of the host's; the kernel asks as for anybody who has no capability."""
    status = os.stat(path)
    bits = {"r": stat.S_IROTH, "w": stat.S_IWOTH}[letter]
    if callers is None or status.st_mode & bits:
        return bool(status.st_mode & bits)
    # With a range of ids init leaves this user's further groups behind: setgroups(2) is allowed there.
    is_theirs = status.st_uid != os.geteuid() and status.st_gid != os.getegid() and status.st_gid in os.getgroups()
    if is_theirs and not callers.is_single and "system.posix_acl_access" not in _attributes(path):
        return False
    return os.access(path, {"r": os.R_OK, "w": os.W_OK}[letter], effective_ids=True)


def _attributes(path: str) -> Sequence[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return ()


def rule(word: str) -> DeviceRule:
    """``c 42:* rmw``: NBContainersError for anything else."""
    match = _RULE.fullmatch(word)
    if not match:
        raise NBContainersError(
            f"invalid device cgroup rule: {word!r}", hint="write TYPE MAJOR:MINOR ACCESS, such as 'c 42:* rmw'"
        )
    kind, major, minor, access = match.groups()
    return DeviceRule(
        allow=True,
        type=kind,
        major=None if major == "*" else int(major),
        minor=None if minor == "*" else int(minor),
        access="".join(letter for letter in "rwm" if letter in access),
    )


def every() -> tuple[Device, ...]:
    """Every device node of the host, for a privileged container."""
    found = []
    for path in _walk("/dev"):
        status = os.stat(path)
        found.append(
            Device(
                path=path,
                type="b" if stat.S_ISBLK(status.st_mode) else "c",
                major=os.major(status.st_rdev),
                minor=os.minor(status.st_rdev),
                mode=stat.S_IMODE(status.st_mode),
                uid=status.st_uid,
                gid=status.st_gid,
            )
        )
    return tuple(found)


def read(word: str) -> tuple[str, str, str]:
    """(path on the host, path inside, access) of one ``--device``."""
    parts = word.split(":")
    access = "rwm"
    if len(parts) > 1 and re.fullmatch("[rwm]+", parts[-1]):
        access = parts.pop()
    if len(parts) not in (1, 2) or not parts[0].startswith("/") or len(set(access)) != len(access):
        raise NBContainersError(f"not a device: {word!r}", hint=_HINT)
    return parts[0], inside(parts[-1], word), access


def _nodes(word: str) -> Iterator[tuple[str, str, str]]:
    """(node of the host, path inside, access) of each node that one ``--device`` means."""
    source, target, access = read(word)
    try:
        status = os.stat(source)
    except OSError as error:
        raise NotFound(f"device {source}: {(error.strerror or '').lower()}", hint="ls /dev lists them") from error
    if target in _OWN:
        return
    if stat.S_ISDIR(status.st_mode):
        nodes = tuple(_walk(source))
        if not nodes:
            raise NotFound(f"no device in {source}", hint=_HINT)
        yield from ((node, target + node[len(source.rstrip("/")) :], access) for node in nodes)
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        yield source, target, access
    else:
        raise NBContainersError(f"{source} is no device", hint="a folder or file of the host is shown with --volume")


def _walk(top: str) -> Iterable[str]:
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _NOT_DEVICES)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name not in _NOT_DEVICES and not os.path.islink(path):
                mode = os.lstat(path).st_mode
                if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                    yield path
