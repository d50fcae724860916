"""One call of a process of the container, and the process's view of files, from the supervisor's.

The supervisor has the container's root for its own, and for a working directory the /proc in whose pid namespace it is: so
``PID/cwd/name`` is what ``name`` means to a process, and ``/name`` means to both the same.
"""

from __future__ import annotations

import _socket
import errno
import os

from ...linux import remote, syscalls
from ...linux.notify import Listener
from ...linux.syscalls import RESOLVE_IN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes

AT_FDCWD = -100
_OWN = ((b"/proc/self/", b"%d/"), (b"/proc/thread-self/", b"%d/"), (b"/dev/fd/", b"%d/fd/"))
_STREAMS = {b"/dev/stdin": b"%d/fd/0", b"/dev/stdout": b"%d/fd/1", b"/dev/stderr": b"%d/fd/2"}


class Place:
    """Where a file is: ``path`` for the supervisor's own calls, and whether a link at its end is followed."""

    __slots__ = ("follow", "path")

    def __init__(self, path: bytes, follow: bool) -> None:
        self.path = path
        self.follow = follow

    @property
    def flags(self) -> int:
        """For calls that take AT_SYMLINK_NOFOLLOW."""
        return 0 if self.follow else syscalls.AT_SYMLINK_NOFOLLOW


class Caller:
    """Who waits for the answer to one call."""

    __slots__ = ("_opened", "args", "call", "is_moved", "listener", "pid")

    def __init__(self, listener: Listener, call: int, pid: int, args: list[int], is_moved: bool) -> None:
        self.listener = listener
        self.call = call
        self.pid = pid  # of the thread
        self.args = args
        self.is_moved = is_moved  # its root may be another than the container's
        self._opened: list[int] = []

    def close(self) -> None:
        """Close what was opened to find the caller's files."""
        while self._opened:
            os.close(self._opened.pop())

    def place(self, directory: int, address: int, *, follow: bool, empty: bool = False) -> Place:
        """The file that the caller means by a descriptor's number and the address of a path, as openat(2) takes them.

        With ``empty`` an empty path is the descriptor itself (AT_EMPTY_PATH).
        """
        text = b"" if empty and not address else remote.read_text(self.pid, address)
        return self.named(signed(directory), text, follow=follow, empty=empty)

    def named(self, directory: int, text: bytes, *, follow: bool, empty: bool = False) -> Place:
        """The file that the caller means by a descriptor's number and a path."""
        if text.startswith(b"/"):
            if self.is_moved:
                return self._in_its_root(text, follow)
            if text.startswith((b"/proc/", b"/dev/")):
                return self._own(text, follow)
            return Place(text, follow)
        base = b"%d/cwd" % self.pid if directory == AT_FDCWD else self.descriptor(directory).path
        if not text:
            if not empty:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            return Place(base, True)  # through the link in /proc to the file itself, be that a link
        return Place(base + b"/" + text, follow)

    def descriptor(self, number: int) -> Place:
        """An open file of the caller's: EBADF if it has none of this number."""
        path = b"%d/fd/%d" % (self.pid, signed(number))
        if not os.path.lexists(path):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return Place(path, True)

    def socket(self, number: int) -> _socket.socket:
        """An open socket of the caller's, to be closed; OSError where it is none, or this host does not lend it."""
        process = os.pidfd_open(int(line(self.pid, b"Tgid:")[0]))
        try:
            borrowed = syscalls.pidfd_getfd(process, signed(number))
        finally:
            os.close(process)
        try:
            return _socket.socket(fileno=borrowed)
        except BaseException:
            os.close(borrowed)
            raise

    def _own(self, text: bytes, follow: bool) -> Place:
        """The names by which processes know themselves would mean the supervisor."""
        for prefix, own in _OWN:
            if text.startswith(prefix):
                return Place(own % self.pid + text.removeprefix(prefix), follow)
        stream = _STREAMS.get(text) if follow else None
        return Place(stream % self.pid if stream else text, follow)

    def _in_its_root(self, text: bytes, follow: bool) -> Place:
        """An absolute path of a process whose root need not be the container's (chroot(2))."""
        root = self._open(os.open(b"%d/root" % self.pid, os.O_PATH | os.O_CLOEXEC))
        if follow:
            try:
                return Place(self._below(root, text), True)
            except FileNotFoundError:
                pass  # it may be about to be made
        above, _, name = text.rstrip(b"/").rpartition(b"/")
        return Place(self._below(root, above or b".") + (b"/" + name if name else b""), follow or not name)

    def _below(self, root: int, path: bytes) -> bytes:
        found = self._open(syscalls.openat2(root, path, os.O_PATH, resolve=RESOLVE_IN_ROOT))
        return b"self/fd/%d" % found

    def _open(self, descriptor: int) -> int:
        self._opened.append(descriptor)
        return descriptor

    def write(self, address: int, data: bytes | ctypes.Array[ctypes.c_char]) -> None:
        """Put bytes into the caller's memory, if it still waits there."""
        if not self.listener.is_valid(self.call):
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        remote.write(self.pid, address, data)


def signed(number: int) -> int:
    """A descriptor's number as the kernel reads it from a register: 32 bits with a sign."""
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 else number


def line(pid: int, name: bytes) -> list[bytes]:
    """The words of a line of a process's status."""
    with open(b"%d/status" % pid, "rb", buffering=0) as file:
        return (file.read(4096) or b"").partition(name)[2].partition(b"\n")[0].split()
