"""Whether root's containers can have user namespaces: an id-mapped overlay in a folder, and a proc and a sysfs of their own, which the
kernel gives to nobody who sees only parts of the host's. Run by the engine in a process of its own, as root, which makes them there.

Reads the folder from standard input and prints why not; nothing if it can.
"""

from __future__ import annotations

import os
import shutil

from ..linux import idmapped, mapping, syscalls
from . import remapped

MASKED = "of its own: the kernel gives a user namespace none where parts of this host's are covered"
_MAP = f"0 {1 << 30} 65536\n"
_FLAGS = syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET


def main() -> None:
    """Try it, and say what came of it."""
    trial = f"{os.fsdecode(os.read(0, 1 << 16))}/idmap-trial-{os.getpid()}"
    try:
        for name in ("lower/a", "snapshot/upper", "snapshot/work"):
            os.makedirs(f"{trial}/{name}", mode=0o700)
        why = _try(trial)
        made = f"{trial}/snapshot/upper/a"
        if not why and os.stat(made).st_uid != os.geteuid():
            why = "what is made there belongs to others"
    except OSError as error:
        why = str(error)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    os.write(1, why.encode())


def _try(trial: str) -> str:
    """Mount the overlay in a new user namespace, replace a folder of its lower layer, and give a file away."""
    userns = idmapped.namespace(_MAP, _MAP)
    trees = []
    for folder in (f"{trial}/lower", f"{trial}/snapshot"):
        trees.append(syscalls.open_tree(-100, folder, syscalls.OPEN_TREE_CLONE))
        idmapped.remap(trees[-1], userns)
    words = [f"upperdir={trial}/snapshot/upper", f"workdir={trial}/snapshot/work", "userxattr"]
    told, tell = os.pipe()
    go, mapped = os.pipe()
    pid, pidfd = syscalls.clone3(_FLAGS)
    if pid == 0:
        try:
            os.close(told)
            os.close(mapped)
            os.read(go, 1)
            _use(("overlay", "overlay", [f"{trial}/lower"], words), trees)
            os._exit(0)
        except BaseException as error:
            os.write(tell, str(error).encode() or b"refused")
        finally:
            os._exit(1)
    os.close(tell)
    mapping.write(pid, _MAP, _MAP, helped=False)
    os.write(mapped, b"m")
    said = os.read(told, 4096).decode()
    os.waitpid(pid, 0)
    os.close(pidfd)
    return said


def _use(root: tuple[str, str, list[str], list[str]], trees: list[int]) -> None:
    from . import shown

    remapped.become_root()
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    folder, staged = remapped.stage(root, trees)
    shown.mount_root(folder, staged)
    os.rmdir(f"{folder}/a")
    os.mkdir(f"{folder}/a", 0o700)
    os.chown(f"{folder}/a", 0, 0)
    os.mknod(f"{folder}/b", 0o600)
    os.chown(f"{folder}/b", 33, 33)
    for kind, place in (("proc", "/proc"), ("sysfs", "/sys")):
        try:
            os.close(syscalls.fsmount(kind, []))
        except PermissionError as error:
            raise PermissionError(f"no {place} {MASKED}") from error
