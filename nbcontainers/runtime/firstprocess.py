"""The first process of a container, from its birth to its end, and what its shim has open for it.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import os
import select
import time

from ..linux import rights
from . import becoming, birth, init, mother, processes, terminal
from .pipes import Pipes
from .poller import happens
from .report import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from .identity.supervisor import Supervisor
    from .lender import Lender
    from .plan import Plan
    from .plug import Plug
    from .poller import Poller
    from .streams import Streams
    from .traced import Command
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_LENT_S = 0.05  # how long what a process has left behind is kept: nobody waits for anything then
_ENDING_S = 10.0  # how long a process may take from letting go of its namespaces to its end


class FirstProcess:
    """One at a time: a container that is started again has another.

    ``pid`` and ``pidfd`` are below 1 and -1 while there is none; ``program`` is who others take for the first process: the same, but
    where a container is shown its files by PRoot, whose child the command is. ``started`` is when the last one was, in seconds since the
    epoch; ``begun`` says whether it has executed the command.
    """

    def __init__(
        self, plan: Plan, poller: Poller, streams: Streams, executes: Callable[[], None], ended: Callable[[], None]
    ) -> None:
        self.pid = self.program = 0
        self.pidfd = -1
        self._command: Command | None = None  # where it is PRoot's child
        self.started = 0.0
        self._born = 0.0
        self.begun = False
        self._plan = plan
        self._poller = poller
        self._streams = streams
        self._executes = executes
        self._ended = ended
        self._mounts = -1  # its mount namespace, which thereby outlives it: see unmount
        self._report = b""
        self._report_end = -1
        self._terminal = -1
        self._pipes: Pipes | None = None
        self._lender: Lender | None = None

    def bear(self, supervisor: Supervisor, plug: Plug, begun: Callable[[], None]) -> None:
        """Make it, as far as it comes before ``go_on``. Failed, or OSError, if not.

        ``begun`` is called once the process that waited for it, if there is one, is on its way.
        """
        plan = self._plan
        self.begun = False
        if plan["view"] is not None:
            self._command = self._told_of()
        self._report = b""
        pipes = Pipes(plan)
        if plan["identity"] is not None:
            supervisor.open()
        born = birth.bear(plan, pipes, supervisor.channel, plug, begun)
        self.pid, self.pidfd, self._mounts, self._lender = born
        self.program = self.pid
        if plan["identity"] is not None:
            supervisor.start(self._poller, plan, self.pidfd, pipes.report_end, mother.pid())
        pipes.close_far()
        self._poller.watch(self.pidfd, select.POLLIN, lambda events: self._ended())
        self._report_end = pipes.report
        self._poller.watch(pipes.report, select.POLLIN, lambda events: self._reported())
        for number, descriptor in enumerate(pipes.outputs, 1):
            self._streams.read(descriptor, number)
        if pipes.input >= 0:
            self._streams.feed(pipes.input)
        self._pipes = pipes
        self.go_on()
        self.started = time.time()
        self._born = time.monotonic()

    def shown(self) -> dict[str, Any]:
        """What a state notes of a container whose files PRoot shows: see ``tracees`` and ``keeper``."""
        from . import keeper  # on hosts without namespaces only

        assert self._plan["view"] is not None
        pid = keeper.pid()
        return {"loader": self._plan["view"]["loader"], "keeper": [pid, processes.start_time(pid)]}

    @property
    def age(self) -> float:
        """Seconds since the last one was started, by a clock that nobody sets."""
        return time.monotonic() - self._born

    def go_on(self) -> None:
        """Let it come to the next thing that it waits for."""
        if self._pipes is not None:
            self._pipes.tell()

    def has_ended(self, error: OSError) -> bool:
        """Whether it has, as an error lets one think. A process lets go of its namespaces, and of what /proc has of it, before it
        counts as ended.
        """
        return happens(self.pidfd, select.POLLIN, _ENDING_S if str(error.filename).startswith("/proc/") else 0)

    def kill(self) -> None:
        """End it, if it is there."""
        if self.pidfd < 0:
            return
        if self._command is not None:
            self._end_all()
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise

    def wait(self) -> int:
        """Wait for its end, and return its exit code: 128 and the signal's number where a signal ended it."""
        if self._command is not None:
            self._end_all()
        _, status = os.waitpid(self.pid, 0)
        self._poller.forget(self.pidfd)
        os.close(self.pidfd)
        self.pid = self.pidfd = self.program = -1
        if self._command is not None:
            self._command.forget()
            if self.begun:
                status = signal.SIGKILL if self._command.status is None else self._command.status
        if not self.begun:
            self.pay_back()  # what it may not have taken yet of its descriptors lies in a socket that the lender has, too
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def listen(self) -> None:
        """Read what it has reported so far."""
        while self._report_end >= 0 and happens(self._report_end, select.POLLIN, 0):
            self._reported()

    def hear_out(self) -> None:
        """Read the rest of what it reported, once nobody else can report any more."""
        while self._report_end >= 0:
            self._reported()
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None

    def cause(self, ended_by: str, code: int, out_of_memory: bool) -> tuple[str, int, str, int]:
        """Why it never executed the command; see ``init.cause``."""
        return init.cause(self._report, ended_by, code, out_of_memory)

    def resize(self, rows: int, columns: int) -> None:
        """Say how large the window of its terminal is, if it has one."""
        if self._terminal >= 0:
            terminal.resize(self._terminal, rows, columns)

    def close_terminal(self) -> None:
        """Let go of its terminal."""
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def unmount(self) -> None:
        """Let go of its mounts, which have waited for that: the kernel takes milliseconds to take them apart, and who waits for a
        container's end would wait for them too if they went with its last process.
        """
        if self._mounts >= 0:
            os.close(self._mounts)
            self._mounts = -1
        if self._plan["view"] is not None:
            from . import view

            view.clear(self._plan["view"])

    def pay_back(self) -> None:
        """Let go of who lent it memory."""
        if self._lender is not None:
            self._lender.end()

    def _reported(self) -> None:
        """It said something: the byte ``x`` and then the end is exec; anything else says why there was none."""
        if self._plan["terminal"]:
            data, descriptors = rights.receive(self._report_end)
            if descriptors:
                self._open_terminal(descriptors[0])
                data = data.removeprefix(terminal.TERMINAL)
                if not data:
                    return
        else:
            data = os.read(self._report_end, 1 << 16)
        self._report += data
        if self._command is not None:
            self._command.hear(self._report)
        if not data:
            self._poller.forget(self._report_end)
            os.close(self._report_end)
            self._report_end = -1
            if self._report == becoming.EXECUTES:
                self.begun, self.program = True, self.pid
                if self._lender is not None:  # if this process ends before that, so does the lender
                    self._poller.after(_LENT_S, self.pay_back)
                if mother.pid():
                    self._poller.after(mother.PATIENCE_S, mother.retire)
                self._executes()

    def _told_of(self) -> Command:
        """The command, as its parent tells of it: PRoot has the other end of the report open for as long as it lives."""
        from .traced import Command  # on hosts without namespaces only

        return Command(
            self._poller,
            tracer=lambda: self.pid,
            begun=self._command_begun,
            refused=self._command_refused,
            ended=lambda status: self._end_all(),
        )

    def _end_all(self) -> None:
        from . import traced

        traced.end_all(self._plan)

    def _command_begun(self, pid: int) -> None:
        self.begun, self.program = True, pid
        self._executes()

    def _command_refused(self, number: int) -> None:
        refused = becoming.refused(self._plan["args"][0], number)
        self._report = failure("exec", number, *refused.args)

    def _open_terminal(self, descriptor: int) -> None:
        self._terminal = descriptor
        os.set_inheritable(descriptor, False)
        self._streams.read(os.dup(descriptor), 1)
        self._streams.feed(os.dup(descriptor))
