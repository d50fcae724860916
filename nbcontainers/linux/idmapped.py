"""Mounts whose files belong to others than on the disk: the ids of a user namespace stand for those that are stored.

A file of root's is then owned by the namespace's root, and what that one makes is root's on the disk; see mount_setattr(2),
MOUNT_ATTR_IDMAP. Only the host's root can make such a mount, and only of a file system that can (ext4, xfs and btrfs can; an
overlay and NFS cannot). The zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import os

from . import mapping, syscalls
from .syscalls import AT_EMPTY_PATH, MOUNT_ATTR_IDMAP


def namespace(uid_map: str, gid_map: str) -> int:
    """A descriptor of a new user namespace with these maps (lines of ``container host size``), in which nobody lives.

    Only for a process with one thread.
    """
    held, end = os.pipe()
    pid, pidfd = syscalls.clone3(syscalls.CLONE_NEWUSER)
    if pid == 0:
        try:
            os.close(end)
            os.read(held, 1)
        finally:
            os._exit(0)
    os.close(held)
    try:
        mapping.write(pid, uid_map, gid_map, helped=False)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(end)
        os.waitpid(pid, 0)
        os.close(pidfd)


def remap(tree: int, userns: int) -> None:
    """Give a detached mount (of ``open_tree``) the ids of a user namespace; what is mounted below it keeps its own."""
    syscalls.mount_setattr(tree, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_IDMAP, userns=userns)
