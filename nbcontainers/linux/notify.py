"""System calls that another process answers: the listener of a seccomp filter with SECCOMP_RET_USER_NOTIF; see seccomp_unotify(2).

The zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from . import syscalls

NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER, include/uapi/linux/seccomp.h
_SPEC_ALLOW = 4
_WAIT_KILLABLE_RECV = 32  # since 5.19: a call that is being answered is not begun again after a signal
_CONTINUE = 1
_SYNC_WAKE_UP = 1  # since 6.6: caller and answerer take turns on one processor
_ADDFD_SEND = 2  # since 5.14
_RECEIVE, _SEND, _IS_VALID, _ADD, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104
_NOTIFICATION = struct.Struct("=QI4xi12x6Q")  # struct seccomp_notif with its struct seccomp_data
_ANSWER = struct.Struct("=QqiI")
_ADDED = struct.Struct("=QIIII")
_NOTHING = bytes(_NOTIFICATION.size)


def listen(program: bytes) -> int:
    """Install a filter on this thread, and return the descriptor of its listener (close-on-exec)."""
    flags = NEW_LISTENER | _SPEC_ALLOW
    try:
        return syscalls.seccomp(program, flags | _WAIT_KILLABLE_RECV)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return syscalls.seccomp(program, flags)


class Listener:
    """The near end: ``receive`` a call, then exactly one of ``proceed``, ``succeed``, ``fail`` and ``give`` for it.

    An answer to a caller that is gone meanwhile is dropped.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._answer = bytearray(_ANSWER.size)
        try:
            fcntl.ioctl(descriptor, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError:
            pass  # an older kernel: slower, no other difference

    def receive(self) -> tuple[int, ...] | None:
        """(id, thread, number, six arguments) of the next call; None if its caller is gone.

        The thread is named as this process's pid namespace knows it.
        """
        try:
            return _NOTIFICATION.unpack(fcntl.ioctl(self.descriptor, _RECEIVE, _NOTHING))
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINTR}:
                return None
            raise

    def is_valid(self, call: int) -> bool:
        """Whether the caller still waits, so that its number still means it."""
        try:
            fcntl.ioctl(self.descriptor, _IS_VALID, call.to_bytes(8, "little"))
        except OSError:
            return False
        return True

    def proceed(self, call: int) -> None:
        """Let the kernel do what was asked."""
        self._send(call, 0, 0, _CONTINUE)

    def succeed(self, call: int, value: int = 0) -> None:
        """The call returns ``value``."""
        self._send(call, value, 0, 0)

    def fail(self, call: int, number: int) -> None:
        """The call fails with an errno."""
        self._send(call, 0, -number, 0)

    def give(self, call: int, descriptor: int, *, close_on_exec: bool) -> None:
        """The call returns a new descriptor of the caller's for an open file of ours."""
        added = _ADDED.pack(call, _ADDFD_SEND, descriptor, 0, os.O_CLOEXEC if close_on_exec else 0)
        try:
            fcntl.ioctl(self.descriptor, _ADD, added)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.fail(call, error.errno or errno.EIO)

    def _send(self, call: int, value: int, error: int, flags: int) -> None:
        _ANSWER.pack_into(self._answer, 0, call, value, error, flags)
        try:
            fcntl.ioctl(self.descriptor, _SEND, self._answer)
        except OSError as failure:
            if failure.errno not in {errno.ENOENT, errno.EINPROGRESS}:
                raise
