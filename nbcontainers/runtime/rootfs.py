"""The container's view of files: its root, its mounts, its devices, what is masked; done by init, by descriptor.

Every path inside the container is resolved with openat2(RESOLVE_IN_ROOT) against a descriptor of its root, so that no link
of the image or of a volume leads out, and every mount lands on the descriptor so found (CVE-2021-30465, 2025-31133,
2025-52565, 2025-52881). Runs between clone and exec; imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import os
import stat

from ..linux import syscalls
from ..linux.syscalls import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    CLONE_NEWNS,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    OPEN_TREE_CLONE,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from . import remapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .launch import Plan
    from .mountplan import PlannedMount

AT_FDCWD = -100
PROC_SUPER_MAGIC = 0x9FA0  # include/uapi/linux/magic.h
_O_PATH_DIR = os.O_PATH | os.O_DIRECTORY
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_MOST_LINKS = 40  # as many as the kernel follows
# Of /proc only these may be covered (by lxcfs, say); source: runc, libcontainer/rootfs_linux.go, checkProcMount.
_PROC_FILES = (
    *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"),
    *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
)

DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
DEVICE_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
)


def build(plan: Plan, at: Callable[[str], None], given: tuple[list[int], list[int]]) -> tuple[int, int]:
    """Mount the root and everything on it, and return descriptors of the root and of its /dev/null (-1 where it has none).

    ``given`` is what ``remapped.take`` took for a container that cannot reach it, else empty.

    The root is mounted over the container's own folder, which is seen so only in this mount namespace; so what is bound
    from there (its hosts file) is taken before. ``at`` is told each stage before it begins.
    """
    # While the mounts here still are peers of those where they come from: a bind may be asked to stay one.
    trees, taken = given
    for entry in plan["mounts"] if not trees else ():
        at(f"mount {entry[0]}")
        taken.append(take(entry) if entry[1] == "bind" else -1)
    at("mount namespace")
    syscalls.mount("", "/", "", MS_REC | MS_PRIVATE)
    for number, entry in enumerate(plan["mounts"]):
        if entry[1] == "overlay":  # only now: it is mounted for a moment, which no peer is to see
            at(f"mount {entry[0]}")
            taken[number] = _take_overlay(plan["folder"], entry[5])
    at("root file system")
    folder, whole = remapped.stage(plan["root"], trees) if trees else (plan["folder"], plan["root"])
    mount_root(folder, whole)
    root = os.open(folder, _O_PATH_DIR)
    if plan["root_attributes"]:
        syscalls.mount_setattr(root, "", AT_EMPTY_PATH, set_=plan["root_attributes"])
    devices = -1
    below_dev = [
        entry[0][5:] for entry in plan["mounts"] if entry[0].startswith("/dev/") and entry[1] not in {"bind", "overlay"}
    ]
    for entry, tree in zip(plan["mounts"], taken, strict=True):
        at(f"mount {entry[0]}")
        mounted = _mount(root, entry, tree, plan["bind_devices"], below_dev)
        if mounted >= 0:
            devices = mounted
    at("devices")
    make_devices(root, plan["devices"])
    null = -1
    if devices >= 0:
        at("mount /dev")
        null = syscalls.openat2(devices, "null", os.O_PATH | os.O_NOFOLLOW, resolve=_STRICT)
        _check_device(null, 1, 3)
        os.close(devices)  # else a working directory could be there by way of /proc/self/fd
    return root, null


def enter(root: int, shelves: int) -> None:
    """Make the descriptor's directory the root of everything and forget the old one; the working directory is the new root.

    ``shelves`` is how much ``remapped.stage`` has mounted over the old root.
    """
    os.fchdir(root)
    # Both arguments may be ".": the old root is then stacked on the new one and detached; see pivot_root(2).
    syscalls.pivot_root(".", ".")
    for _ in range(shelves + 1):
        syscalls.umount(".", MNT_DETACH)
    os.chdir("/")
    if shelves and not os.path.samestat(os.stat("/.."), os.stat("/")):  # ".." of a root is what is mounted on it
        raise OSError(errno.EBUSY, "the host's root is still there")


def namespace(pid: int) -> int:
    """A descriptor of a process's mount namespace, -1 where it cannot be had; the mounts are there until it is closed."""
    try:
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def protect(root: int, null: int, masked: list[str], readonly: list[str]) -> None:
    """Hide and write-protect paths of /proc and /sys; those that are not there are passed over.

    A file is hidden by the container's own /dev/null (never the host's: its mode could be changed through it), verified on
    the descriptor; a directory by an empty tmpfs.
    """
    # Looked up once: who can swap a link on the way to /proc (in a volume that another container has too) while the masks are
    # laid on would else get them laid elsewhere, as in CVE-2025-31133 and CVE-2025-52881.
    proc = _open_proc(root) if masked or readonly else -1
    for path in readonly:
        target = _open_below(root, proc, path)
        if target >= 0:
            copy = syscalls.open_tree(target, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE)
            syscalls.mount_setattr(copy, "", AT_EMPTY_PATH | AT_RECURSIVE, set_=MOUNT_ATTR_RDONLY)
            _attach(copy, target)
    for path in masked:
        target = _open_below(root, proc, path)
        if target < 0:
            continue
        if stat.S_ISDIR(os.fstat(target).st_mode):
            cover = syscalls.fsmount("tmpfs", [("size", "0")], MOUNT_ATTR_RDONLY)
        elif null < 0:
            raise OSError(errno.ENODEV, f"no /dev/null to hide {path} with")
        else:
            cover = syscalls.open_tree(null, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
            syscalls.mount_setattr(cover, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)
        _attach(cover, target)
    if proc >= 0:
        os.close(proc)


def set_sysctls(root: int, values: list[tuple[str, str]]) -> None:
    """Write kernel parameters of the container's own namespaces, through its own procfs, before that is protected."""
    if not values:
        return
    proc = _open_proc(root)
    for name, value in values:
        path = "sys/" + name.replace(".", "/")
        descriptor = syscalls.openat2(proc, path, os.O_WRONLY, resolve=_STRICT | RESOLVE_NO_XDEV)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    os.close(proc)


def freeze_root(root: int) -> None:
    """Make the root's own mount read-only (what is mounted on it stays as it is)."""
    syscalls.mount_setattr(root, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)


def mount_root(folder: str, root: tuple[str, str, list[str], list[str]]) -> None:
    """Mount a root (kind, source, lower directories, options) over a folder."""
    kind, source, lowers, options = root
    if kind == "bind":
        tree = syscalls.open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | AT_RECURSIVE)
        target = os.open(folder, _O_PATH_DIR)
        _attach(tree, target)
        return
    _mount_overlay(folder, lowers, options)


def _mount_overlay(folder: str, lowers: list[str], options: list[str]) -> None:
    # Descriptors' short names stand for the paths: many layers then fit in mount(2)'s one page, no character needs an
    # escape, and the container does not read the host's paths in its mount table.
    opened = [os.open(path, _O_PATH_DIR) for path in lowers]
    words = ["lowerdir=" + ":".join(f"/proc/self/fd/{number}" for number in opened)]
    for word in options:
        key, equals, value = word.partition("=")
        if equals and key in {"upperdir", "workdir"}:
            opened.append(os.open(value, _O_PATH_DIR))
            value = f"/proc/self/fd/{opened[-1]}"
        words.append(key + equals + value)
    data = ",".join(words)
    if len(data) >= 4096:  # mount(2) would cut it silently
        raise OSError(errno.E2BIG, f"{len(lowers)} layers are more than one mount can hold")
    syscalls.mount("overlay", folder, "overlay", 0, data)
    for number in opened:
        os.close(number)


def _mount(root: int, entry: PlannedMount, tree: int, bind_devices: bool, below_dev: list[str]) -> int:
    """Do one mount (``tree`` is what a bind shows); where it is /dev, fill it and return its descriptor, else -1."""
    destination, kind, source, attributes, cleared, options, recursive, everywhere, propagation = entry
    if tree >= 0:
        is_directory = stat.S_ISDIR(os.stat(tree).st_mode)
        deep = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
        if everywhere and not propagation & MS_REC:
            syscalls.mount_setattr(tree, "", deep, set_=everywhere)
        depth = deep if propagation & MS_REC else AT_EMPTY_PATH
        syscalls.mount_setattr(tree, "", depth, set_=everywhere, propagation=propagation & ~MS_REC)
        if attributes or cleared:
            syscalls.mount_setattr(tree, "", AT_EMPTY_PATH, set_=attributes, clear=cleared)
        _attach(tree, _mount_point(root, destination, is_directory))
        return -1
    if kind == "tmpfs" and destination != "/dev" and not any(key == "mode" for key, _ in options):
        options = [*options, *_mode_of(root, destination)]
    target = _mount_point(root, destination, True)
    if kind == "cgroup":
        _mount_cgroups(target, source, options, attributes)
        return -1
    is_dev = destination == "/dev" and kind == "tmpfs"
    mount = syscalls.fsmount(kind, options, attributes)
    if is_dev:
        _fill_dev(mount, bind_devices, below_dev)
    syscalls.move_mount(mount, target)
    os.close(target)
    if not is_dev:
        os.close(mount)
        return -1
    if bind_devices:
        for name, major, minor in DEVICES:
            node = syscalls.open_tree(AT_FDCWD, "/dev/" + name, OPEN_TREE_CLONE)
            _check_device(node, major, minor)
            _attach(node, syscalls.openat2(mount, name, os.O_PATH | os.O_NOFOLLOW, resolve=_STRICT))
    return mount


def _fill_dev(mount: int, bind_devices: bool, folders: list[str]) -> None:
    """Make the entries relative to the mount itself, before it hangs anywhere: no link of an image can lead them astray.

    The folders are those on which more will be mounted: made later, each would have to be looked for first.
    In a user namespace no device can be made: empty files take the binds of the host's nodes.
    """
    for name, major, minor in DEVICES:
        if bind_devices:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=mount))
        else:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=mount)
    for link, name in DEVICE_LINKS:
        os.symlink(link, name, dir_fd=mount)
    for name in folders:
        try:  # noqa: SIM105 - contextlib would cost the zygote memory
            os.mkdir(name, 0o755, dir_fd=mount)
        except (FileExistsError, FileNotFoundError):
            pass  # one below another of them: it is looked for when its turn comes


def _mount_cgroups(target: int, source: str, controllers: list[tuple[str, str]], attributes: int) -> None:
    """Show the container its own cgroup, read-only: the v2 tree itself, or a folder of the v1 controllers.

    ``controllers`` names v1 hierarchies as (folder, mount options joined by a comma), none for v2. A host that does not
    let a user namespace mount them leaves the place empty: nothing depends on it but curiosity.
    """
    if source == "cgroup2":
        try:
            _attach(syscalls.fsmount("cgroup2", [], attributes), target)
        except PermissionError:
            os.close(target)
        return
    shelf = syscalls.fsmount("tmpfs", [("mode", "755"), ("size", "64k")], attributes & ~MOUNT_ATTR_RDONLY)
    for folder, _ in controllers:
        os.mkdir(folder, 0o755, dir_fd=shelf)
    syscalls.move_mount(shelf, target)
    os.close(target)
    for folder, words in controllers:
        try:
            tree = syscalls.fsmount("cgroup", [_pair(word) for word in words.split(",")], attributes)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EBUSY, errno.EACCES}:
                raise
            continue
        _attach(tree, syscalls.openat2(shelf, folder, _O_PATH_DIR, resolve=_STRICT))
    syscalls.mount_setattr(shelf, "", AT_EMPTY_PATH, set_=attributes)
    os.close(shelf)


def take(entry: PlannedMount) -> int:
    """A copy of the mount that a bind is to show; a path below the source (of a volume) is resolved inside it."""
    _, _, source, _, _, options, recursive, _, _ = entry
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0)
    for key, value in options:
        if key == "nbcontainers.process":
            return _take_from(value, source, flags)
        if key == "nbcontainers.subpath":
            return _take_below(source, value, flags)
    return syscalls.open_tree(AT_FDCWD, source, flags)


def _take_below(source: str, path: str, flags: int) -> int:
    """A copy of what lies at a path below a folder, whatever links there say."""
    top = os.open(source, _O_PATH_DIR | os.O_CLOEXEC)
    found = syscalls.openat2(top, path, os.O_PATH, resolve=_INSIDE)
    tree = syscalls.open_tree(found, "", flags | AT_EMPTY_PATH)
    os.close(found)
    os.close(top)
    return tree


def _take_overlay(folder: str, options: list[tuple[str, str]]) -> int:
    """A copy of an overlay, or of a path below it; it is mounted over the container's folder for as long as that takes."""
    lowers = [value for key, value in options if key == "lowerdir"]
    below = next((value for key, value in options if key == "nbcontainers.subpath"), ".")
    rest = [
        f"{key}={value}" if value else key for key, value in options if key not in {"lowerdir", "nbcontainers.subpath"}
    ]
    _mount_overlay(folder, lowers, rest)
    try:
        return _take_below(folder, below, OPEN_TREE_CLONE)
    finally:
        syscalls.umount(folder, MNT_DETACH)


def _take_from(process: str, source: str, flags: int) -> int:
    """A copy of a mount of another container; only in its own mount namespace can it be taken (see open_tree(2))."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(other, CLONE_NEWNS)
    tree = syscalls.open_tree(AT_FDCWD, source, flags)
    syscalls.setns(own, CLONE_NEWNS)
    os.close(own)
    os.close(other)
    return tree


def _mode_of(root: int, path: str) -> list[tuple[str, str]]:
    """The mode of the folder that a tmpfs covers, as runc gives it: /tmp stays everybody's. A new one is everybody's, too."""
    found = _open(root, path)
    if found < 0:
        return []
    mode = os.fstat(found).st_mode & 0o7777
    os.close(found)
    return [("mode", f"{mode:o}")]


def make_devices(root: int, devices: list[tuple[str, int, int, int, int, int]]) -> None:
    """Make nodes inside: (path, type and mode, major, minor, uid, gid) each, wherever the path leads inside the root."""
    for path, mode, major, minor, uid, gid in devices:
        folder, _, name = path.rpartition("/")
        parent = make_target(root, folder, True) if folder else os.dup(root)
        try:
            held = syscalls.openat2(parent, ".", _O_PATH_DIR, resolve=_STRICT)
            try:  # noqa: SIM105 - contextlib would cost the zygote memory
                os.mknod(name, mode, os.makedev(major, minor), dir_fd=held)
            except FileExistsError:
                pass  # what it is will show
            # The name may lie in a volume, where somebody else can put a link in its place: what is changed is what was looked at.
            node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
            status = os.fstat(node)
            if stat.S_IFMT(status.st_mode) != stat.S_IFMT(mode) or status.st_rdev != os.makedev(major, minor):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            os.chown(f"/proc/self/fd/{node}", uid, gid)
            os.chmod(f"/proc/self/fd/{node}", stat.S_IMODE(mode))
            os.close(node)
            os.close(held)
        finally:
            os.close(parent)


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _attach(mount: int, target: int) -> None:
    """Hang a detached mount on a descriptor and close both."""
    syscalls.move_mount(mount, target)
    os.close(mount)
    os.close(target)


def _open(root: int, path: str) -> int:
    """A descriptor of a path inside the root, -1 where there is none."""
    try:
        return syscalls.openat2(root, path, os.O_PATH, resolve=_INSIDE)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _mount_point(root: int, path: str, is_directory: bool) -> int:
    """``make_target``, and EPERM where that is on procfs: an image's VOLUME over /proc/self/attr would get the writes by which
    a program is confined (CVE-2019-16884), one over /proc/sys those of kernel parameters.
    """
    target = make_target(root, path, is_directory)
    if syscalls.filesystem_type(target) == PROC_SUPER_MAGIC:
        proc, found = _open_proc(root), os.fstat(target)
        for name in _PROC_FILES:
            allowed = _open(proc, name)
            if allowed >= 0:
                is_it = os.path.samestat(found, os.fstat(allowed))
                os.close(allowed)
                if is_it:
                    break
        else:
            raise OSError(errno.EPERM, f"of /proc only {', '.join(_PROC_FILES)} can be mounted on")
        os.close(proc)
    return target


def make_target(root: int, path: str, is_directory: bool, links: int = 0) -> int:
    """A descriptor to mount on: what the path leads to inside the root, made (with its folders) where it is missing."""
    found = _open(root, path)
    if found >= 0:
        return found
    parent = os.dup(root)
    walked = ""
    names = [name for name in path.split("/") if name]
    try:
        for number, name in enumerate(names):
            walked += "/" + name
            last = number == len(names) - 1
            found = _open(root, walked)
            if found < 0:
                try:
                    _make(parent, name, is_directory or not last)
                except FileExistsError:
                    # A link whose target is missing: make the target, inside the root as the link means it.
                    link = os.readlink(name, dir_fd=parent)
                    if links >= _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
                    whole = link if link.startswith("/") else f"{walked.rpartition('/')[0]}/{link}"
                    rest = "/".join(names[number + 1 :])
                    return make_target(root, f"{whole}/{rest}" if rest else whole, is_directory, links + 1)
                found = syscalls.openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=_STRICT)
            os.close(parent)
            parent = found
    except BaseException:
        os.close(parent)
        raise
    return parent


def _make(parent: int, name: str, is_directory: bool) -> None:
    if is_directory:
        os.mkdir(name, 0o755, dir_fd=parent)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))


def _check_device(descriptor: int, major: int, minor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(major, minor):
        raise OSError(errno.ENODEV, f"not the character device {major}:{minor}")


def _open_proc(root: int) -> int:
    """A descriptor of /proc, which must be procfs and its very root: else masks and parameters would land on files of the image."""
    descriptor = syscalls.openat2(root, "proc", _O_PATH_DIR, resolve=_INSIDE)
    if syscalls.filesystem_type(descriptor) != PROC_SUPER_MAGIC or os.fstat(descriptor).st_ino != 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, "/proc of the container is not a proc file system")
    return descriptor


def _open_below(root: int, proc: int, path: str) -> int:
    """A descriptor of a path, below /proc in the one that was looked at; -1 where there is none."""
    return _open(proc, path.removeprefix("/proc/")) if path.startswith("/proc/") else _open(root, path)
