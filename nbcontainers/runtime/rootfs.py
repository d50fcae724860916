"""The container's view of files: its root, its mounts, its devices, what is masked; done by init, by descriptor.

Every path inside the container is resolved with openat2(RESOLVE_IN_ROOT) against a descriptor of its root, so that no link
of the image or of a volume leads out, and every mount lands on the descriptor so found (CVE-2021-30465, 2025-31133,
2025-52565, 2025-52881). Runs between clone and exec; imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import os
import stat

from ..linux import inside, syscalls
from ..linux.inside import FOLDER, INSIDE, STRICT
from ..linux.syscalls import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    RESOLVE_NO_XDEV,
)
from . import remapped, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .mountplan import PlannedMount
    from .pattern import Pattern
    from .plan import Plan


KERNELS = ("proc", "sysfs", "devpts", "mqueue")
"""File systems of the kernel's own, of which a container has new ones."""
_SAME_FLAGS = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC  # as attributes, too
_TIME_FLAGS = {
    0: 0,
    syscalls.MOUNT_ATTR_NOATIME: syscalls.MS_NOATIME,
    syscalls.MOUNT_ATTR_STRICTATIME: syscalls.MS_STRICTATIME,
}
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


def prepare(pattern: Pattern, at: Callable[[str], None]) -> tuple[int, int]:
    """Mount what a pattern has where no path leads, with what hides parts of it; no mount from here on is seen by the host.

    Returns descriptors of the folder that it lies in and of its /dev/null, -1 each where the pattern has none.
    """
    if not pattern["mounts"]:
        return -1, -1
    at("mount namespace")
    syscalls.mount("", "/", "", MS_REC | MS_PRIVATE)
    shelf = remapped.shelve()
    null = _furnish(shelf, pattern["mounts"], [-1] * len(pattern["mounts"]), at, pattern["bind_devices"])
    at("sysctl")
    set_sysctls(shelf, pattern["sysctl"])
    at("masked paths")
    protect(shelf, null, pattern["masked_paths"], pattern["readonly_paths"])
    return shelf, null


def begin(
    plan: Plan, at: Callable[[str], None], given: tuple[list[int], list[int]], *, is_alone: bool
) -> tuple[int, list[int]]:
    """Mount the root, and return a descriptor of it, and of what each mount binds (-1 for those that bind nothing).

    ``given`` is what ``remapped.take`` took for a container that cannot reach it, else empty; ``is_alone`` says that the host sees
    no mount of this process already.

    The root is mounted over the container's own folder, which is seen so only in this mount namespace; so what is bound
    from there (its hosts file) is taken before. ``at`` is told each stage before it begins.
    """
    # While the mounts here still are peers of those where they come from: a bind may be asked to stay one.
    trees, taken = given
    for entry in plan["mounts"] if not trees else ():
        at(f"mount {entry[0]}")
        taken.append(shown.take(entry) if entry[1] == "bind" else -1)
    if not is_alone:
        at("mount namespace")
        syscalls.mount("", "/", "", MS_REC | MS_PRIVATE)
    at("root file system")
    folder, whole = remapped.stage(plan["root"], trees) if trees else (plan["folder"], plan["root"])
    # Only now: they are mounted for a moment, which no peer is to see.
    overlays = [number for number, entry in enumerate(plan["mounts"]) if entry[1] == "overlay"]
    words = [plan["mounts"][number][5] for number in overlays]
    for number, options in zip(
        overlays, remapped.restage(folder, plan["root"], words) if trees else words, strict=True
    ):
        at(f"mount {plan['mounts'][number][0]}")
        taken[number] = shown.take_overlay(folder, options)
        at("root file system")
    shown.mount_root(folder, whole)
    root = os.open(folder, FOLDER)
    if plan["root_attributes"]:
        syscalls.mount_setattr(root, "", AT_EMPTY_PATH, set_=plan["root_attributes"])
    return root, taken


def complete(plan: Plan, at: Callable[[str], None], root: int, taken: list[int], prepared: tuple[int, int]) -> int:
    """Mount on the root what is mounted there, ``prepared`` or not; return a descriptor of its /dev/null, -1 where it has none."""
    shelf, null = prepared
    for path in plan["pattern"]["tops"]:  # with all that is mounted on it
        at(f"mount {path}")
        shown.attach(syscalls.openat2(shelf, path, FOLDER, resolve=INSIDE), inside.make_target(root, path, True))
    own = _furnish(root, plan["mounts"], taken, at, plan["pattern"]["bind_devices"])
    at("devices")
    make_devices(root, plan["devices"])
    return null if own < 0 else own


def _furnish(
    root: int, mounts: list[PlannedMount], taken: list[int], at: Callable[[str], None], bind_devices: bool
) -> int:
    """Do the mounts, each with what it binds; return a descriptor of the null device where a /dev is among them, else -1."""
    devices = -1
    below_dev = [
        entry[0][5:] for entry in mounts if entry[0].startswith("/dev/") and entry[1] not in {"bind", "overlay"}
    ]
    for entry, tree in zip(mounts, taken, strict=True):
        at(f"mount {entry[0]}")
        mounted = _mount(root, entry, tree, bind_devices, below_dev)
        if mounted >= 0:
            devices = mounted
    if devices < 0:
        return -1
    at("mount /dev")
    null = syscalls.openat2(devices, "null", os.O_PATH | os.O_NOFOLLOW, resolve=STRICT)
    _check_device(null, 1, 3)
    os.close(devices)  # else a working directory could be there by way of /proc/self/fd
    return null


def put_away(shelf: int, folder: str) -> None:
    """Hang what lies over the old root on a folder in it, beside which the new one is mounted: they go together then, for whoever
    unmounts waits until every processor has seen it.
    """
    beside = os.open(os.path.dirname(folder), FOLDER)
    syscalls.move_mount(shelf, beside)
    os.close(beside)


def enter(root: int, shelves: int) -> None:
    """Make the descriptor's directory the root of everything and forget the old one; the working directory is the new root.

    ``shelves`` is how much lies over the old root.
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
    the descriptor; a directory by an empty tmpfs. Each is one for all of them.
    """
    # Looked up once: who can swap a link on the way to /proc (in a volume that another container has too) while the masks are
    # laid on would else get them laid elsewhere, as in CVE-2025-31133 and CVE-2025-52881.
    proc = inside.open_proc(root) if any(path.startswith("/proc/") for path in (*masked, *readonly)) else -1
    for path in readonly:
        target = inside.open_below(root, proc, path)
        if target >= 0:
            copy = syscalls.open_tree(target, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE)
            syscalls.mount_setattr(copy, "", AT_EMPTY_PATH | AT_RECURSIVE, set_=MOUNT_ATTR_RDONLY)
            shown.attach(copy, target)
    covers = [-1, -1]  # of a file, of a directory
    for path in masked:
        target = inside.open_below(root, proc, path)
        if target < 0:
            continue
        is_directory = stat.S_ISDIR(os.fstat(target).st_mode)
        if covers[is_directory] < 0:
            cover = _cover(is_directory, null, path)
            covers[is_directory] = os.dup(cover)
        else:  # which hangs somewhere by now: before Linux 6.15 nothing else is copied
            cover = syscalls.open_tree(covers[is_directory], "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        shown.attach(cover, target)
    for descriptor in (proc, *covers):
        if descriptor >= 0:
            os.close(descriptor)


def _cover(is_directory: bool, null: int, path: str) -> int:
    if is_directory:
        return syscalls.fsmount("tmpfs", [("size", "0")], MOUNT_ATTR_RDONLY)
    if null < 0:
        raise OSError(errno.ENODEV, f"no /dev/null to hide {path} with")
    cover = syscalls.open_tree(null, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
    syscalls.mount_setattr(cover, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)
    return cover


def set_sysctls(root: int, values: list[tuple[str, str]]) -> None:
    """Write kernel parameters of the container's own namespaces, through its own procfs, before that is protected."""
    if not values:
        return
    proc = inside.open_proc(root)
    for name, value in values:
        path = "sys/" + name.replace(".", "/")
        try:
            descriptor = syscalls.openat2(proc, path, os.O_WRONLY, resolve=STRICT | RESOLVE_NO_XDEV)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"{name}={value}") from error
    os.close(proc)


def freeze_root(root: int) -> None:
    """Make the root's own mount read-only (what is mounted on it stays as it is)."""
    syscalls.mount_setattr(root, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)


def _mount(root: int, entry: PlannedMount, tree: int, bind_devices: bool, below_dev: list[str]) -> int:
    """Do one mount (``tree`` is what a bind shows); where it is /dev, fill it and return its descriptor, else -1."""
    destination, kind, source, attributes, cleared, options, recursive, everywhere, propagation = entry
    if tree >= 0:
        is_directory = stat.S_ISDIR(os.stat(tree).st_mode)
        deep = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
        if not propagation & MS_REC:
            # What is mounted below shares with the host what its source does: only who asks for that lets mounts out.
            below = 0 if propagation & MS_SHARED else MS_SLAVE
            syscalls.mount_setattr(tree, "", deep, set_=everywhere, propagation=below)
        depth = deep if propagation & MS_REC else AT_EMPTY_PATH
        syscalls.mount_setattr(tree, "", depth, set_=everywhere, propagation=propagation & ~MS_REC)
        if attributes or cleared:
            syscalls.mount_setattr(tree, "", AT_EMPTY_PATH, set_=attributes, clear=cleared)
        shown.cover(tree, inside.mount_point(root, destination, is_directory), destination, is_directory)
        return -1
    if kind == "tmpfs" and destination != "/dev" and not any(key == "mode" for key, _ in options):
        options = [*options, *_mode_of(root, destination)]
    target = inside.mount_point(root, destination, True)
    if kind == "cgroup":
        _mount_cgroups(target, source, options, attributes)
        return -1
    # Who is in the same network namespace has the same sysfs: only this mount of it is to be read-only.
    if kind in KERNELS and not attributes & MOUNT_ATTR_RDONLY:
        words = ",".join([f"{key}={value}" if value else key for key, value in options if key != "source"])
        _mount_on(target, "", source or kind, kind, attributes, words)
        os.close(target)
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
            # It can be written to all the same; its mode is the host's, whose root the container's may be (root without CAP_SYS_ADMIN).
            syscalls.mount_setattr(node, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)
            shown.attach(node, syscalls.openat2(mount, name, os.O_PATH | os.O_NOFOLLOW, resolve=STRICT))
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
        try:
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
            _mount_on(target, "", "cgroup", "cgroup2", attributes, "")
        except PermissionError:
            pass
        os.close(target)
        return
    shelf = syscalls.fsmount("tmpfs", [("mode", "755"), ("size", "64k")], attributes & ~MOUNT_ATTR_RDONLY)
    for folder, _ in controllers:
        os.mkdir(folder, 0o755, dir_fd=shelf)
    syscalls.move_mount(shelf, target)
    os.close(target)
    for folder, words in controllers:
        try:
            _mount_on(shelf, folder, "cgroup", "cgroup", attributes, words)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EBUSY, errno.EACCES}:
                raise
    syscalls.mount_setattr(shelf, "", AT_EMPTY_PATH, set_=attributes)
    os.close(shelf)


def _mount_on(place: int, name: str, source: str, kind: str, attributes: int, data: str) -> None:
    """Mount a file system on what a descriptor leads to, or on a folder in there, in one call.

    ``attributes`` are those of fsmount(2); but a new file system that is mounted read-only is so wherever else it is mounted, too.
    Nobody else may be able to change what is in that folder.
    """
    flags = attributes & _SAME_FLAGS | _TIME_FLAGS[attributes & syscalls.MOUNT_ATTR_ATIME]
    target = f"/proc/self/fd/{place}/{name}" if name else f"/proc/self/fd/{place}"
    try:
        syscalls.mount(source, target, kind, flags, data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, kind) from error


def _mode_of(root: int, path: str) -> list[tuple[str, str]]:
    """The mode of the folder that a tmpfs covers, as runc gives it: /tmp stays everybody's. A new one is everybody's, too."""
    found = inside.look_up(root, path)
    if found < 0:
        return []
    mode = os.fstat(found).st_mode & 0o7777
    os.close(found)
    return [("mode", f"{mode:o}")]


def make_devices(root: int, devices: list[tuple[str, int, int, int, int, int]]) -> None:
    """Make nodes inside: (path, type and mode, major, minor, uid, gid) each, wherever the path leads inside the root."""
    for path, mode, major, minor, uid, gid in devices:
        folder, _, name = path.rpartition("/")
        parent = inside.make_target(root, folder, True) if folder else os.dup(root)
        try:
            held = syscalls.openat2(parent, ".", FOLDER, resolve=STRICT)
            try:
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


def _check_device(descriptor: int, major: int, minor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(major, minor):
        raise OSError(errno.ENODEV, f"not the character device {major}:{minor}")
