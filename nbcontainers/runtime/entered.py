"""A further command in a container, as the shim has it: from the fork to its exit code.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import sys

from ..linux import rights, syscalls
from . import becoming, enter, init, remapped, terminal
from .descriptors import let_go
from .report import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from .plan import Plan
    from .poller import Poller
    from .traced import Traced
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_MOST_REPORTED = 1 << 16


def enter_command(
    poller: Poller,
    plan: Plan,
    container: tuple[int, int, int],
    stdio: tuple[int, int, int],
    tell: Callable[[tuple[Any, ...], list[int]], object],
) -> Entered | Traced:
    """Begin one, see ``Entered``, whose arguments these are."""
    if plan["view"] is not None:
        from .traced import Traced  # on hosts without namespaces only

        return Traced(poller, plan, stdio, tell)
    return Entered(poller, plan, container, stdio, tell)


def why(report: bytes, code: int) -> tuple[str, int, str, int]:
    """Why a command never ran, which ended with this exit code: (stage, errno, message, exit code)."""
    return init.told(report) or ("start", 0, f"the command was ended (status {code}) before it ran", 125)


class Entered:
    """One command. ``tell`` hears ("started", pid) with the end of its terminal if it has one, and then ("exited", exit code);
    or only ("failed", stage, errno, message, exit code).
    """

    def __init__(
        self,
        poller: Poller,
        plan: Plan,
        container: tuple[int, int, int],
        stdio: tuple[int, int, int],
        tell: Callable[[tuple[Any, ...], list[int]], object],
    ) -> None:
        """Begin. ``plan`` is the container's with the command's own words in it; ``container`` its init's pid and pidfd,
        and the channel to its supervisor (-1 for none).

        ``stdio`` is closed by the caller, as soon as this returns. OSError where not even a process can be forked.
        """
        self._poller = poller
        self._tell = tell
        self._said = b""
        self._terminal: list[int] = []
        self.pid = 0
        self._pidfd = -1
        self._is_over = False
        remapped.give(plan, stdio)
        flags = enter.namespaces(container[0])
        near, far = _socket.socketpair()
        self._report = near.detach()
        report_end = far.detach()
        go_end = self._go = into = -1
        try:
            go_end, self._go = os.pipe()
            if plan["into_cgroup"]:
                into = os.open(plan["into_cgroup"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                helper, self._helper = syscalls.clone3(syscalls.CLONE_INTO_CGROUP, cgroup=into)
            else:
                helper, self._helper = syscalls.clone3(0)
            if helper == 0:
                os.close(self._go)
                os.close(self._report)
                enter.run(plan, container[1], flags, stdio, report_end, go_end, container[2])
        except BaseException:
            os.close(self._report)
            self._close_go()
            raise
        finally:
            for descriptor in (report_end, go_end, into):
                if descriptor >= 0:
                    os.close(descriptor)
        self._helper_pid = helper
        poller.watch(self._helper, select.POLLIN, lambda events: self._helped())
        poller.watch(self._report, select.POLLIN, lambda events: self._reported())

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the command and (SIGKILL) to all of its process group; one that has not begun never will."""
        if self._go >= 0 and not self.pid:
            self._close_go()
        if self._pidfd < 0:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise

    def _helped(self) -> None:
        os.waitpid(self._helper_pid, 0)
        self._poller.forget(self._helper)
        os.close(self._helper)
        self._helper = -1

    def _reported(self) -> None:
        data, descriptors = rights.receive(self._report)
        self._said += data[:_MOST_REPORTED]
        self._terminal += descriptors
        if not self.pid and len(self._said) > 8 and self._said.startswith(enter.ENTERED):
            self.pid = int.from_bytes(self._said[1:9], sys.byteorder)
            self._said = self._said[9:]
            try:
                self._pidfd = os.pidfd_open(self.pid)  # our child: its pid is its own until it is waited for
            except OSError as error:  # no descriptors left
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.pid = 0
                self._said = failure("start", error.errno or 0, str(error.strerror), 126)
                return
            self._poller.watch(self._pidfd, select.POLLIN, lambda events: self._ended())
            if self._go >= 0:
                try:
                    os.write(self._go, b"gg")
                except BrokenPipeError:
                    pass  # something killed it, or all of the container ends: its status says so next
        if data:
            return
        self._poller.forget(self._report)
        os.close(self._report)
        self._report = -1
        self._said = self._said.removeprefix(terminal.TERMINAL) if self._terminal else self._said
        if self._said == becoming.EXECUTES:
            self._tell(("started", self.pid), self._terminal)
            let_go(self._terminal)
        elif not self.pid:
            self._fail(125)

    def _ended(self) -> None:
        while self._report >= 0:  # its other end died with it
            self._reported()
        _, status = os.waitpid(self.pid, 0)
        self._poller.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._close_go()
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code < 0 else code
        if self._said == becoming.EXECUTES:
            self._is_over = True
            self._tell(("exited", code), [])
        else:
            self._fail(code)

    def _fail(self, code: int) -> None:
        self._close_go()
        let_go(self._terminal)
        self._is_over = True
        self._tell(("failed", *why(self._said, code)), [])

    def _close_go(self) -> None:
        if self._go >= 0:
            os.close(self._go)
            self._go = -1

    @property
    def is_over(self) -> bool:
        """Whether ``tell`` has heard the last."""
        return self._is_over
