"""Commands that PRoot traces, as the shim has them: what their parents tell of them (see ``starter``), and an exec.

Imports only what keeps the shim small.
"""

from __future__ import annotations

import _socket
import errno
import os
import select

from ..linux import rights, starter
from . import becoming, keeper, terminal, tracees
from .descriptors import let_go
from .entered import why
from .report import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from .plan import Plan
    from .poller import Poller
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_MOST_REPORTED = 1 << 16
_LAST_WORD_S = 1.0  # how long the parent of a command that has ended may take to tell how


class Command:
    """One that is told of; ``tracer`` gives the pid of its PRoot. Each of the others is called once at most: ``begun`` with its pid,
    ``ended`` with its status, as waitpid(2) has it; or only ``refused``, with the errno.
    """

    def __init__(
        self,
        poller: Poller,
        *,
        tracer: Callable[[], int],
        begun: Callable[[int], object],
        refused: Callable[[int], object],
        ended: Callable[[int], object],
    ) -> None:
        self.pid = 0
        self.status: int | None = None
        self._poller = poller
        self._tracer = tracer
        self._begun, self._refused, self._ended = begun, refused, ended
        self._pidfd = -1
        self._timer: object = None

    def hear(self, report: bytes) -> None:
        """Take note of all that was reported so far."""
        told = starter.told(report)
        if told and not self.pid:
            number, self.pid = told[0]
            if not number and not tracees.is_traced_by(self.pid, self._tracer()):
                number = errno.EPERM  # PRoot has been taken over: nobody else's number is taken for the command's
            if number:
                self._refused(number)
                return
            self._watch()
            self._begun(self.pid)
        if len(told) > 1:
            self._end(told[1][0])

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there; SIGKILL also to all of its process group."""
        if self._pidfd < 0:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def forget(self) -> None:
        """Let go of it."""
        self._poller.cancel(self._timer)
        if self._pidfd >= 0:
            self._poller.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _watch(self) -> None:
        """Hear of its end also if its parent, which is among the container's processes, is killed before it tells."""
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            return  # it has ended, which is told next
        self._poller.watch(self._pidfd, select.POLLIN, lambda events: self._gone())

    def _gone(self) -> None:
        self.forget()
        self._timer = self._poller.after(_LAST_WORD_S, lambda: self._end(signal.SIGKILL))

    def _end(self, status: int) -> None:
        if self.status is None:
            self.status = status
            self.forget()
            self._ended(status)


class Traced:
    """A further command in a container without namespaces: as ``entered.Entered``, which see."""

    def __init__(
        self,
        poller: Poller,
        plan: Plan,
        stdio: tuple[int, int, int],
        tell: Callable[[tuple[Any, ...], list[int]], object],
    ) -> None:
        self._poller = poller
        self._tell = tell
        self._args = plan["args"]
        self._said = b""
        self._terminal: list[int] = []
        self.is_over = False
        self._command = Command(
            poller, tracer=lambda: self._pid, begun=self._begun, refused=self._refused, ended=self._ended
        )
        near, far = _socket.socketpair()
        self._report, report_end = near.detach(), far.detach()
        go_end = go = -1
        try:
            go_end, go = os.pipe()
            self._pid, self._pidfd = keeper.bear(plan, (*stdio, report_end, go_end))
        except BaseException:
            os.close(self._report)
            if go >= 0:
                os.close(go)
            raise
        finally:
            for descriptor in (report_end, go_end):
                if descriptor >= 0:
                    os.close(descriptor)
        self._go = go
        poller.watch(self._pidfd, select.POLLIN, lambda events: self._tracer_ended())
        poller.watch(self._report, select.POLLIN, lambda events: self._reported())
        try:
            os.write(self._go, b"gg")
        except BrokenPipeError:
            pass  # something killed it: its end says so next

    @property
    def pid(self) -> int:
        """The command's."""
        return self._command.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the command and (SIGKILL) to all of its process group; one that has not begun never will."""
        if not self._command.pid and self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._command.signal(number)

    def _reported(self) -> None:
        data, descriptors = rights.receive(self._report)
        self._terminal += descriptors
        if descriptors:
            data = data.removeprefix(terminal.TERMINAL)
        elif not data:
            self._close_report()
        self._said += data[:_MOST_REPORTED]
        self._command.hear(self._said)

    def _begun(self, pid: int) -> None:
        self._tell(("started", pid), self._terminal)
        let_go(self._terminal)

    def _refused(self, number: int) -> None:
        self._said = failure("exec", number, *becoming.refused(self._args[0], number).args)

    def _ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self.is_over = True
        self._tell(("exited", 128 - code if code < 0 else code), [])

    def _tracer_ended(self) -> None:
        """PRoot is gone, and with it all that it traced: what that was started for, it may have left a while ago."""
        while self._report >= 0:
            self._reported()
        _, status = os.waitpid(self._pid, 0)
        self._poller.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        os.close(self._go)
        let_go(self._terminal)
        if self.is_over:
            return
        code = os.waitstatus_to_exitcode(status)
        if starter.told(self._said):  # it began
            self._command.forget()
            self._ended(signal.SIGKILL)
        else:
            self.is_over = True
            self._tell(("failed", *why(self._said, 128 - code if code < 0 else code)), [])

    def _close_report(self) -> None:
        self._poller.forget(self._report)
        os.close(self._report)
        self._report = -1


def end_all(plan: Plan) -> None:
    """End all of a container that no namespace ends with its first process."""
    assert plan["view"] is not None
    tracees.end(plan["view"]["loader"], tracees.tracers(os.getpid()))
    keeper.dismiss()
