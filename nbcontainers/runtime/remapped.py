"""A container of root's in a user namespace of its own: its files are seen through id-mapped mounts, and stay root's on the disk.

Its init is nobody on the host from its first moment on: it can reach no folder of root's. So the shim, which still is root,
takes a copy of every mount that is to be shown, with the container's ids, and init finds them among its descriptors. Imports
only what keeps the zygote small.
"""

from __future__ import annotations

import os
import stat

from ..linux import idmapped, syscalls
from ..linux.syscalls import AT_FDCWD, AT_RECURSIVE, OPEN_TREE_CLONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .mountplan import PlannedMount
    from .plan import Plan

    Root = tuple[str, str, list[str], list[str]]

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDERS = ("upperdir", "workdir")


class Refused(Exception):
    """The kernel or a file system does not want to: stage, errno, message."""


def take(plan: Plan, bind: Callable[[PlannedMount], int]) -> tuple[list[int], list[int]]:
    """Descriptors of copies of the folders of the root and of overlays, in their order, and of what each mount binds (else -1).

    Both are empty for a container that is none of root's in a user namespace. ``bind`` makes the copy for a mount. Raises Refused;
    what was opened until then ends with this process.
    """
    root: list[int] = []
    mounts: list[int] = []
    if not plan["owner"]:
        return root, mounts
    stage = "id-mapped mounts"
    try:
        userns = idmapped.namespace(plan["uid_map"], plan["gid_map"])
        below = AT_RECURSIVE if plan["root"][0] == "bind" else 0
        _take_folders(_folders(plan["root"]), below, userns if plan["maps_root"] else -1, root)
        for entry in plan["mounts"]:
            stage = f"mount {entry[0]}"
            mounts.append(bind(entry) if entry[1] == "bind" else -1)
            if mounts[-1] >= 0 and ("idmap", "") in entry[5]:
                _remap(mounts[-1], userns, entry[2])
            if entry[1] == "overlay":
                lowers = [path for key, path in entry[5] if key == "lowerdir"]
                _take_folders(lowers, 0, userns if ("idmap", "") in entry[5] else -1, root)
        os.close(userns)
    except OSError as error:
        raise Refused(stage, error.errno, error.strerror) from error
    return root, mounts


def _take_folders(paths: list[str], below: int, userns: int, taken: list[int]) -> None:
    """Copies of mounts of folders, with the ids of a user namespace where that is not -1."""
    for path in paths:
        tree = syscalls.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | below)
        if userns >= 0:
            _remap(tree, userns, path)
        taken.append(tree)


def _remap(tree: int, userns: int, path: str) -> None:
    try:
        idmapped.remap(tree, userns)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: the file system cannot show {path} with other ids") from error


def _folders(root: Root) -> list[str]:
    """What must be mounted for a root: each lower folder, and the one that the upper and the work folder have in common."""
    kind, source, lowers, options = root
    if kind == "bind":
        return [source]
    above = _above(options)
    return [*lowers, above] if above else lowers


def stage(root: Root, trees: list[int]) -> tuple[str, Root]:
    """(a folder to mount the root over, the root with other names of its folders): what ``take`` took is mounted for it.

    An overlay's folders must be mounted where its mounter lives: here on a file system in memory that lies over the old root,
    where no path leads, and that goes with the old root.
    """
    shelf = shelve()
    here = f"/proc/self/fd/{shelf}"
    for number, tree in enumerate(trees):
        os.mkdir(str(number), dir_fd=shelf)
        place = os.open(str(number), _FOLDER, dir_fd=shelf)
        syscalls.move_mount(tree, place)
        os.close(place)
        os.close(tree)
    os.mkdir("root", dir_fd=shelf)
    kind, source, lowers, options = root
    if kind == "bind":
        return f"{here}/root", (kind, f"{here}/0", [], [])
    staged = [f"{here}/{number}" for number in range(len(lowers))]
    above = _above(options)
    words = [
        f"{key}={here}/{len(lowers)}/{os.path.relpath(path, above)}" if key in _FOLDERS else word
        for word in options
        for key, _, path in [word.partition("=")]
    ]
    return f"{here}/root", (kind, source, staged, words)


def restage(folder: str, root: Root, overlays: Iterable[list[tuple[str, str]]]) -> Iterator[list[tuple[str, str]]]:
    """The options of overlays with other names of their lower folders, which ``stage`` has mounted behind those of the root."""
    here, number = os.path.dirname(folder), len(_folders(root))
    for options in overlays:
        lowers = sum(key == "lowerdir" for key, _ in options)
        rest = [pair for pair in options if pair[0] != "lowerdir"]
        yield [*(("lowerdir", f"{here}/{number + place}") for place in range(lowers)), *rest]
        number += lowers


def shelve() -> int:
    """Lay a file system in memory over the root, where no path leads, and return a descriptor of its top."""
    shelf = syscalls.fsmount("tmpfs", [("mode", "700")])
    top = os.open("/", _FOLDER)
    syscalls.move_mount(shelf, top)
    os.close(top)
    return shelf


def _above(options: list[str]) -> str:
    """The folder in which the upper and the work folder lie: they must be of one mount. Empty where there are none."""
    paths = [path for key, _, path in (word.partition("=") for word in options) if key in _FOLDERS]
    return os.path.commonpath(paths) if paths else ""


def become_root() -> None:
    """Be the root of the user namespace: until now this process was nobody in it, for the host's root is none of its ids."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def give(plan: Plan, descriptors: Iterable[int]) -> None:
    """Let the container's root open its standard streams again (/dev/stdout): pipes are owned by who made them."""
    if not plan["owner"]:
        return
    for descriptor in descriptors:
        if descriptor >= 0 and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.fchown(descriptor, *plan["owner"])
