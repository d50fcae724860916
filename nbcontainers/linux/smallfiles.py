"""Small files, read and written whole by the system calls that it takes: a start of a container has two dozen of them.

The zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import errno
import os

NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE))
"""What open(2) answers where there is no descriptor left: it says nothing of the file, which is not to pass for gone."""


def read(path: str) -> bytes:
    """What a file holds."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_all(descriptor)
    finally:
        os.close(descriptor)


def read_all(descriptor: int) -> bytes:
    """What an open file holds, from where it stands."""
    parts = []
    while part := os.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def write(path: str, data: bytes, *, new: bool = False) -> None:
    """Put bytes in a file in place of what it held; with ``new``, FileExistsError if there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if new else 0), 0o644)
    try:
        fill(descriptor, data)
    finally:
        os.close(descriptor)


def fill(descriptor: int, data: bytes) -> None:
    """Put bytes in an open file in place of what it holds, if that is anything: ext4 brings a file that was cut to the disk as soon as
    it is closed, for it may hold what a program wants to keep, and it does so where there was nothing to cut off. Source: ext4(5),
    auto_da_alloc.
    """
    if os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, 0)
    write_all(descriptor, data)


def publish(path: str, data: bytes) -> None:
    """Put bytes in a new file, which has its name once they are there; until then it has a dot before it, and may be there already."""
    folder, _, name = path.rpartition("/")
    write(f"{folder}/.{name}", data)
    os.rename(f"{folder}/.{name}", path)


def replace(path: str, data: bytes) -> None:
    """Put bytes in a file in place of what it held, or in a new one: a reader sees the old ones or all of the new, whoever else writes.

    They are not brought to the disk: after a power cut the file may be lost or empty.
    """
    folder, _, _ = path.rpartition("/")
    scratch = f"{folder}/.{os.urandom(8).hex()}"
    try:
        write(scratch, data, new=True)
        os.rename(scratch, path)
    except BaseException:
        try:
            os.unlink(scratch)
        except FileNotFoundError:
            pass
        raise


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte: write(2) may take fewer, and does so when a disk fills up."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
