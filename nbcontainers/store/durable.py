"""Files that are whole or not there: durable replacement, locks, and what is said when a disk is full."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import HostError
from ..linux import syscalls
from ..linux.smallfiles import write_all

_STRETCH = 8 << 20  # bytes for which it pays to tell the disk


class Stream:
    """Writes an open file to its end, which is at ``size``. The disk works meanwhile: fsync(2) then finds little to wait for."""

    def __init__(self, descriptor: int, size: int = 0) -> None:
        self._descriptor = descriptor
        self._begun = size
        self.size = size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes, all of them."""
        write_all(self._descriptor, data)
        self.size += memoryview(data).nbytes
        if self.size - self._begun >= _STRETCH:
            with contextlib.suppress(OSError):  # a sandbox may not know the call: then fsync(2) waits for it all
                syscalls.sync_file_range(self._descriptor, self._begun, self.size - self._begun)
            self._begun = self.size


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut. Source: fsync(2), which does not do it for a file's own name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes, *, temporary: Path, mode: int = 0o600) -> None:
    """Put bytes in a file so that every reader, now and after a power cut, sees the old ones or all of the new ones.

    ``temporary`` is a folder on the same file system, for the file while it is being written.

    Raises:
        HostError: the disk is full; the old file is as it was.

    """
    scratch = temporary / secrets.token_hex(16)
    with saying_when_full(path):
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            scratch.rename(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


@contextlib.contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock on a file, made if it is not there; wait for it. It ends with its holder, however that ends.

    Two locks of one process exclude each other as those of two processes do: they belong to the open file (flock(2)).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def abandoned(path: Path) -> bool:
    """True if nobody holds a lock on a file that its writer keeps locked: the writer is gone, or the file is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def saying_when_full(path: Path | str) -> Iterator[None]:
    """Turn the kernel's word for a full disk or quota into an error that says what to do; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise full(path) from error


def emitter(descriptor: int) -> Callable[[memoryview], None]:
    """What writes blocks to a descriptor of the caller's: where that is full the error is not one of the store.

    Raises:
        HostError: there is no space left where the descriptor leads.

    """

    def emit(block: memoryview) -> None:
        try:
            write_all(descriptor, block)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise HostError(
                "no space left where the archive goes to", hint="free some there, or name another place"
            ) from error

    return emit


def full(path: Path | str) -> HostError:
    """The error that a full disk is."""
    return HostError(
        f"no space left to write {path}",
        hint="free some with 'nbcontainers prune', or name a larger disk in NBCONTAINERS_ROOT",
    )
