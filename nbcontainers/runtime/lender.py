"""A process that lends its memory to the first one of a container, so that nobody waits for that memory to be taken apart.

exec(2) first frees all that its caller had, which for a copy of this interpreter takes a third of a millisecond; it only lets go of what
another process has, too. So the one that becomes a container is made by a lender, with CLONE_VM: what it touches is charged to the
lender's memory group, not to the container's. Both are on one stack, so the kernel keeps the lender where it is (CLONE_VFORK) until
the borrower executes something or ends. Nothing that is on the stack then is the lender's: it never comes back to it, for a stop that
was sent to it meanwhile takes hold first, and it is killed later. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import os

from ..linux import syscalls
from . import processes
from .descriptors import keep_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_INT = 4


class Lender:
    """``pid`` is the lender's, ``borrower`` that of the process which has its memory: a child of this one, too."""

    def __init__(self, flags: int, group: int, kept: tuple[int, ...], become: Callable[..., NoReturn]) -> None:
        """Make both; the borrower has the namespaces of ``flags``, and calls ``become`` with what it still has of ``kept``.

        ``group`` is for CLONE_INTO_CGROUP, -1 for none. ``become`` has to wait until it is told to go on: the stop is sent before this
        returns. OSError where the kernel does not want to.
        """
        parent = os.getpid()
        answer, far = os.pipe()
        try:
            try:
                self.pid, self._pidfd = syscalls.clone3(0)
                if self.pid == 0:
                    _lend(parent, flags, far, group, kept, become)
            finally:
                os.close(far)
            told = int.from_bytes(os.read(answer, _INT), "little", signed=True)
        finally:
            os.close(answer)
        if told <= 0:
            self.end()
            raise OSError(-told, os.strerror(-told))
        self.borrower = told
        signal.pidfd_send_signal(self._pidfd, signal.SIGSTOP)

    def end(self) -> None:
        """Kill the lender, once nobody waits; its borrower keeps the memory for as long as it wants it. Nothing happens again."""
        if self.pid > 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._pidfd)
            self.pid = 0


def _lend(
    parent: int, flags: int, far: int, group: int, kept: tuple[int, ...], become: Callable[..., NoReturn]
) -> NoReturn:
    """Be the lender, and after its only system call the borrower."""
    try:
        processes.end_with(parent)
        syscalls.set_name("nbc-lender")
        far, group, *rest = keep_only((-1, -1, -1), far, group, *kept)
        try:
            told = syscalls.borrow(flags, cgroup=group)
        except OSError as error:
            os.write(far, (-(error.errno or 0)).to_bytes(_INT, "little", signed=True))
            os._exit(1)
        os.write(far, told.to_bytes(_INT, "little"))
        os.close(far)
        if group >= 0:
            os.close(group)
        become(*rest)
    finally:
        os._exit(1)
