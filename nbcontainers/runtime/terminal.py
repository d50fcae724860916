"""A terminal of the container's own: a pair in its devpts, one end for the shim or an engine, one for the program.

Runs between clone and exec; imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import stat
import sys

from ..linux import inside, rights, syscalls
from ..linux.syscalls import AT_EMPTY_PATH, OPEN_TREE_CLONE, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS

DEVPTS_SUPER_MAGIC = 0x1CD1  # include/uapi/linux/magic.h
TERMINAL = b"t"
_PTMX = os.makedev(5, 2)
# include/uapi/asm-generic/ioctls.h: the same on x86-64 and aarch64
_TIOCSCTTY, _TIOCSWINSZ, _TIOCSPTLCK, _TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441


def open_pair(root: int, rows: int, columns: int) -> tuple[int, int]:
    """(the end for who looks on, the end for the program) of a new terminal below the descriptor of a container's root.

    The first is verified to be a multiplexer of a devpts, and the second comes from it, not from a path: no link or mount
    inside can put another file in their place (CVE-2025-52565).
    """
    master = syscalls.openat2(
        root, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    )
    found = os.fstat(master)
    if (
        not stat.S_ISCHR(found.st_mode)
        or found.st_rdev != _PTMX
        or syscalls.filesystem_type(master) != DEVPTS_SUPER_MAGIC
    ):
        raise OSError(errno.ENODEV, "/dev/pts of the container is not a file system of terminals")
    return pair_of(master, rows, columns)


def pair_of(master: int, rows: int, columns: int) -> tuple[int, int]:
    """(the end for who looks on, the end for the program) of the terminal that a descriptor of a multiplexer has just made."""
    fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    resize(master, rows, columns)
    return master, slave


def resize(master: int, rows: int, columns: int) -> None:
    """Say how large the window is; the kernel tells the program (SIGWINCH). Zeros leave it as it is."""
    if rows > 0 and columns > 0:
        size = b"".join(min(number, 0xFFFF).to_bytes(2, sys.byteorder) for number in (rows, columns, 0, 0))
        fcntl.ioctl(master, _TIOCSWINSZ, size)


def bind_console(root: int, slave: int) -> None:
    """Show the terminal as /dev/console, as the OCI runtime specification wants it; it lands on a descriptor."""
    tree = syscalls.open_tree(slave, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
    target = inside.make_target(root, "/dev/console", False)
    syscalls.move_mount(tree, target)
    os.close(tree)
    os.close(target)


def take(slave: int) -> None:
    """Make the terminal this session's own, and standard input, output and error."""
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
    if slave > 2:
        os.close(slave)


def hand_over(report: int, master: int) -> None:
    """Send the end for who looks on through the report socket, with the byte TERMINAL, and close it here."""
    channel = _socket.socket(fileno=report)
    channel.sendmsg([TERMINAL], rights.along(master))
    channel.detach()
    os.close(master)
