"""A shim's part in its container's network: enter what namespaces lie around it, have its holder plug each run into its networks.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select

from ..linux import rights, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan import Plan

GONE = "the process that holds the networks is gone"
_PATIENCE_MS = 10_000
_PARTING_MS = 1_000


class Plug:
    """The networks of one container, or another container's network that it shares; nothing where it has neither."""

    def __init__(self, plan: Plan, descriptors: list[int]) -> None:
        """``descriptors`` are those that the plan's ``entered`` (flags each) and ``networked`` tell of, in this order."""
        entered, self._pids = plan["entered"], plan["pid_namespace"]
        self._spaces = list(zip(descriptors, entered, strict=False))
        self._holder = _socket.socket(fileno=descriptors[len(entered)]) if plan["networked"] else None

    def enter(self) -> None:
        """Go into the namespaces in which the container's own are to be made; the first time only."""
        for descriptor, flags in self._spaces:
            syscalls.setns(descriptor, flags)
            if flags & syscalls.CLONE_NEWUSER:  # changes who owns our files in /proc, and with them those of our child
                syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
            os.close(descriptor)
        self._spaces = []
        if self._pids:  # which holds for children only
            other = os.open(self._pids, os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(other, syscalls.CLONE_NEWPID)
            os.close(other)

    def attach(self, pid: int) -> None:
        """Ask the holder to plug the container's new network namespace in; it does so while the container goes on."""
        if self._holder is None:
            return
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._holder.sendmsg([marshal.dumps(("attach",))], rights.along(namespace), _socket.MSG_NOSIGNAL)
        except ConnectionError:
            pass  # it is gone, as ``settle`` finds
        finally:
            os.close(namespace)

    def settle(self) -> str:
        """Wait until the holder has done so: why it could not, else nothing."""
        if self._holder is None:
            return ""
        poll = select.poll()
        poll.register(self._holder.fileno(), select.POLLIN)
        if not poll.poll(_PATIENCE_MS):
            return f"the process that holds the networks has said nothing for {_PATIENCE_MS // 1000} seconds"
        try:
            data = self._holder.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return GONE
        word, what = marshal.loads(data)  # noqa: S302 - from our own holder
        return "" if word == "done" else str(what)

    def watch(self) -> int:
        """The descriptor whose end says that the holder is gone; -1 where there is none."""
        return -1 if self._holder is None else self._holder.fileno()

    def leave(self) -> None:
        """Give the places on networks back, and wait until they are free: addresses, and ports of the host."""
        if self._holder is None:
            return
        poll = select.poll()
        poll.register(self._holder.fileno(), select.POLLIN)
        try:
            self._holder.shutdown(_socket.SHUT_WR)
            while poll.poll(_PARTING_MS) and self._holder.recv(1 << 16):
                pass  # an answer that nobody waited for
        except OSError:
            pass  # the holder is gone
        self._holder.close()
        self._holder = None
