"""What a container without namespaces is shown and allowed, decided in the engine: see ``view`` for what is done with it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import LaunchError
from ..linux import inside, smallfiles, starter, syscalls
from ..linux.mounts import SUBPATH
from ..oci.runtime import Json, Mount, RuntimeSpec
from . import hints, mountplan
from . import rootfs as files
from .host import Viewer
from .plan import View
from .shown import unlike
from .view import STARTER, locate, make_place, resolve

FOLDER = "view"
"""The folder in a container's own."""
_UNTRANSLATED = (
    "statx faccessat2 openat2 execveat fchmodat2 renameat2 name_to_handle_at open_by_handle_at open_tree open_tree_attr move_mount "
    "fsopen fsconfig fsmount fspick mount_setattr statmount listmount quotactl_fd fanotify_mark landlock_create_ruleset "
    "landlock_add_rule landlock_restrict_self setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr "
    "io_uring_setup io_uring_enter io_uring_register"
).split()
"""Calls that name files and that not every PRoot knows: it would let them pass as they are, and they would name the host's."""
OF_HOST = ("/proc", "/sys")
"""File systems of the kernel's own that are shown as this host has them."""


def policy(profile: Json | None, *, networked: bool) -> dict[str, Any]:
    """The policy of system calls: a specification's, without those that PRoot would not translate; and where it is not ``networked``, as
    with ``--network none``, without sockets but Unix ones.
    """
    given = profile or {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    unknown = {"names": _UNTRANSLATED, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    rules = [_without(rule, frozenset(_UNTRANSLATED)) for rule in given["syscalls"]]
    if not networked:
        rules = [_without(rule, frozenset({"socket"})) for rule in rules if rule is not None]
        unix = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}  # AF_UNIX
        other = {"index": 0, "value": 1, "op": "SCMP_CMP_NE"}
        rules += [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [unix]},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EAFNOSUPPORT, "args": [other]},
        ]
    seen = _dumpable([rule for rule in rules if rule is not None], given.get("defaultAction", ""))
    return {**given, "syscalls": [unknown, *seen]}


def _dumpable(rules: list[dict[str, Any]], default: str) -> list[dict[str, Any]]:
    """The rules, with nobody able to hide from who shows him his files (as ssh-agent does): PR_SET_DUMPABLE 0 does nothing.

    By what it executes a process is known for the container's. A policy that has its own mind of prctl(2) keeps it.
    """
    about = [rule for rule in rules if "prctl" in rule["names"]]
    if any(rule["action"] != "SCMP_ACT_ALLOW" or rule.get("args") for rule in about) or (
        not about and default != "SCMP_ACT_ALLOW"
    ):
        return rules
    is_it = {"index": 0, "value": syscalls.PR_SET_DUMPABLE, "op": "SCMP_CMP_EQ"}
    off = {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}
    allow = {"names": ["prctl"], "action": "SCMP_ACT_ALLOW"}
    left = [rule for rule in (_without(rule, frozenset({"prctl"})) for rule in rules) if rule is not None]
    return [
        *left,
        {"names": ["prctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0, "args": [is_it, off]},
        {**allow, "args": [{**is_it, "op": "SCMP_CMP_NE"}]},
        {**allow, "args": [is_it, {**off, "op": "SCMP_CMP_NE"}]},
    ]


def _without(rule: Mapping[str, Any] | None, names: frozenset[str]) -> dict[str, Any] | None:
    """A rule for its other calls, None where there are none."""
    if rule is None:
        return None
    left = [name for name in rule["names"] if name not in names]
    return {**rule, "names": left} if left else None


class _Refused(Exception):
    """What cannot be mounted, and what can be done."""


def view(spec: RuntimeSpec, rootfs: tuple[Mount, ...], folder: Path, viewer: Viewer) -> View:
    """The view of a container whose root is a plain folder; the files that it wants are made.

    Raises:
        LaunchError: it asks for what cannot be had without namespaces.
    """
    _refuse(spec, rootfs)
    own = folder / FOLDER
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(mode=0o700)
    loader, start = own / "loader", own / "start"
    for path, data in ((loader, viewer.loader), (start, starter.program())):
        smallfiles.write(str(path), data)
        path.chmod(0o555)
    made = View(
        program=viewer.program,
        loader=str(loader),
        folder=str(own),
        root=rootfs[0].source,
        binds=[],
        emptied=[],
        landlock=viewer.landlock,
        rules=[],
    )
    for mount in spec.mounts:
        stage = f"mount {mount.destination}"
        try:
            _add(made, mount)
        except _Refused as error:
            raise LaunchError(f"{stage}: {error.args[0]}", stage=stage, hint=error.args[1]) from error
        except OSError as error:
            about = f": {error.filename!r}" if error.filename else ""
            words = f"{error.strerror}{about}"
            hint = hints.of_start(stage, error.errno or 0, words)
            raise LaunchError(f"{stage}: {words}", stage=stage, hint=hint) from error
    _bind(made, str(start), STARTER, writable=False)
    system = [*viewer.files, str(loader)]
    made["rules"] = [(path, False) for path in system] + [(made["root"], not spec.readonly_root)]
    made["rules"] += [(host, is_writable) for host, _, is_writable in made["binds"]]
    return made


def _refuse(spec: RuntimeSpec, rootfs: tuple[Mount, ...]) -> None:
    if not spec.process.args:
        raise LaunchError("no command was given", stage="specification", hint="name one, or set CMD in the image")
    if {entry.type for entry in spec.namespaces} - {"network"}:
        raise LaunchError(
            "the container was made for namespaces, which cannot be had here",
            stage="specification",
            hint="make it anew",
        )
    if len(rootfs) != 1 or rootfs[0].type == "overlay":
        raise LaunchError("a tree of several layers cannot be mounted here", stage="specification", hint="make it anew")
    if spec.process.apparmor_profile:
        raise LaunchError(
            "an AppArmor profile cannot be taken on where Landlock holds", stage="specification", hint="leave it out"
        )


def _add(made: View, mount: Mount) -> None:
    """Show what stands for a mount."""
    destination, kind, source, attributes, _, options, _, everywhere, propagation = mountplan.planned(mount)
    if propagation & (syscalls.MS_SHARED | syscalls.MS_SLAVE):
        raise _Refused("no mount goes from a container to this host or back", "leave the propagation out")
    read_only = bool((attributes | everywhere) & syscalls.MOUNT_ATTR_RDONLY)
    inside.refuse_proc(resolve(made, destination)[1], source)
    if kind == "bind":
        words = dict(options)
        if words.keys() & {mountplan.PROCESS, mountplan.IDMAP}:
            raise _Refused("it cannot be shown as another sees it without namespaces", "mount it as this user sees it")
        if subpath := words.get(SUBPATH):
            source = _below(source, subpath)
        # Read-only are the mode and the owner of a device, not what is behind it.
        _bind(made, source, destination, writable=not read_only or _is_device(source))
    elif kind == "devpts":
        _bind(made, "/dev/pts", destination, writable=True)
        _bind(made, "/dev/ptmx", "/dev/ptmx", writable=True)
    elif destination == "/dev":
        folder = _folder(made, destination, 0o755)
        _bind(made, folder, destination, writable=True)
        for target, name in files.DEVICE_LINKS:
            if name != "ptmx":
                os.symlink(target, f"{folder}/{name}")
        for name, *_ in files.DEVICES:
            _bind(made, f"/dev/{name}", f"/dev/{name}", writable=True)
    elif kind == "tmpfs":
        mode = int(dict(options).get("mode", "0"), 8) or _mode_of(locate(made, destination))
        folder = _folder(made, destination, mode)
        made["emptied"].append((folder, mode))
        _bind(made, folder, destination, writable=not read_only)
    else:
        raise _Refused(f"{kind} cannot be mounted without namespaces", "there are binds, volumes and tmpfs")


def _bind(made: View, source: str, destination: str, *, writable: bool) -> None:
    """Show a path of the host's at one of the container's, which is made if it is missing."""
    status = os.stat(source)
    place, guest = resolve(made, destination)
    if guest == "/":
        raise _Refused("nothing can be mounted on /", "name another place")
    for path in (source, guest):
        if ":" in path:
            raise _Refused(f"PRoot takes no path with a colon: {path}", "rename it")
    if not os.path.lexists(place):
        make_place(place, is_directory=stat.S_ISDIR(status.st_mode))
    elif os.path.isdir(place) != stat.S_ISDIR(status.st_mode):
        raise unlike(stat.S_ISDIR(status.st_mode), destination)
    made["binds"].append((os.path.realpath(source), guest, writable))


def _folder(made: View, destination: str, mode: int) -> str:
    """A new folder in the container's own, for what lies in memory elsewhere."""
    path = _in_memory(made["folder"], destination)
    os.mkdir(path)
    os.chmod(path, mode)
    return path


def _in_memory(own: str, destination: str) -> str:
    return f"{own}/{destination.strip('/').replace('/', '-')}"


def shown(mounts: Iterable[Mount], root: str, folder: Path, *, runs: bool) -> tuple[Mount, ...]:
    """What a container is shown beside its tree, as binds of where that lies on places without links; of one that does not run only what
    stays.
    """
    binds = list[tuple[str, str, bool]]()
    found = list[Mount]()
    for mount in mounts:
        destination, kind, source, _, _, options, *_ = mountplan.planned(mount)
        places = {destination: source}
        if kind == "bind":
            if subpath := dict(options).get(SUBPATH):
                places = {destination: _below(source, subpath)}
        elif not runs:
            continue
        elif kind == "devpts":
            places = {destination: "/dev/pts", "/dev/ptmx": "/dev/ptmx"}
        else:
            places = {destination: _in_memory(str(folder / FOLDER), destination)}
            if destination == "/dev":
                places |= {f"/dev/{name}": f"/dev/{name}" for name, *_ in files.DEVICES}
        for place, lies in places.items():
            _, guest = resolve({"root": root, "binds": binds}, place)
            binds.append((os.path.realpath(lies), guest, True))
            found.append(Mount(destination=guest, type="bind", source=binds[-1][0], options=mount.options))
    return tuple(found)


def _mode_of(place: str) -> int:
    """The mode of the folder that a tmpfs covers, as ``rootfs`` has it."""
    return stat.S_IMODE(os.stat(place).st_mode) if os.path.isdir(place) else 0o1777


def _is_device(path: str) -> bool:
    return stat.S_IFMT(os.stat(path).st_mode) in (stat.S_IFCHR, stat.S_IFBLK)


def _below(source: str, path: str) -> str:
    """A path below a folder, which no link there leads out of."""
    top = os.open(source, inside.FOLDER | os.O_CLOEXEC)
    try:
        found = syscalls.openat2(top, path, os.O_PATH, resolve=inside.INSIDE)
        try:
            return os.readlink(f"/proc/self/fd/{found}")
        finally:
            os.close(found)
    finally:
        os.close(top)


def not_kept(made: View) -> tuple[str, ...]:
    """Which read-only binds can be written to all the same, for what is shown of them lies in what may be written, in plain words."""
    writable = [made["root"], *(host for host, _, is_writable in made["binds"] if is_writable)]
    return tuple(
        f"read-only {guest}: it lies in what the container may write to, and Landlock takes nothing of that back"
        for host, guest, is_writable in made["binds"]
        if not is_writable and any(f"{host}/".startswith(f"{path}/") for path in writable)
    )
