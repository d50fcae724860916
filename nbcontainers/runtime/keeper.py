"""The process beside a shim that starts what runs in a container without namespaces: PRoot, once for the first process and for each exec.

Landlock holds a process and all that it starts, and those who are held by one and the same rules may signal each other and look into each
other: so all of them are started by one. What it starts is a child of the shim (CLONE_PARENT). It lives for one run of the container, in
its cgroups; where the shim is killed it ends what is left. Imports only what keeps the zygote's children small, and all of it at once:
later it could not read its modules.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import select

from ..linux import rights, smallfiles, syscalls
from . import groups, init, tracees, view
from .descriptors import keep_only
from .poller import happens

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from .plan import Plan
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_SILENCE_S = 10.0  # after which one that stands still is given up
_INT = 8  # bytes of a pid, or of an errno with a minus
_keeper: Keeper | None = None


class Keeper:
    """``pid`` is its."""

    def __init__(self, plan: Plan) -> None:
        """Make it. OSError where there can be no process or descriptor more."""
        group = -1
        self._near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            if plan["into_cgroup"]:
                group = os.open(plan["into_cgroup"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.pid, self._pidfd = syscalls.clone3(syscalls.CLONE_INTO_CGROUP if group >= 0 else 0, cgroup=group)
        except BaseException:
            self._near.close()
            raise
        else:
            if self.pid == 0:
                _serve(plan, far.fileno())
        finally:
            far.close()
            if group >= 0:
                os.close(group)
        if refused := self._answer():
            self.end()
            raise OSError(-refused, os.strerror(-refused), "Landlock")

    def bear(self, plan: Plan, ends: tuple[int, ...], *, is_first: bool) -> tuple[int, int]:
        """(pid, pidfd) of a new child of this process, which becomes what the plan says; ``ends`` are stdio, report and go.

        OSError where there can be none.
        """
        text = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            smallfiles.write_all(text, marshal.dumps(dict(plan), 2))
            words, along = rights.pack(text, *ends)
            self._near.sendmsg([bytes([is_first]), words], along, _socket.MSG_NOSIGNAL)
        finally:
            os.close(text)
        answer = self._answer()
        if answer <= 0:
            number = -answer or errno.ECONNRESET
            raise OSError(number, os.strerror(number))
        return answer, os.pidfd_open(answer)  # our child: its number is its own until it is waited for

    def end(self) -> None:
        """Kill it, and take note of its end."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._pidfd)
        self._near.close()

    def _answer(self) -> int:
        if not happens(self._near.fileno(), select.POLLIN, _SILENCE_S):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return int.from_bytes(self._near.recv(_INT), "little", signed=True)


def engage(plan: Plan) -> None:
    """Have one from here on, for the run that begins. OSError where there can be none."""
    global _keeper
    dismiss()
    _keeper = Keeper(plan)


def bear(plan: Plan, ends: tuple[int, ...], *, is_first: bool = False) -> tuple[int, int]:
    """See ``Keeper.bear``; ESRCH between two runs."""
    if _keeper is None:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return _keeper.bear(plan, ends, is_first=is_first)


def dismiss() -> None:
    """Have none any more."""
    global _keeper
    gone, _keeper = _keeper, None
    if gone is not None:
        gone.end()


def pid() -> int:
    """Its, 0 where there is none."""
    return 0 if _keeper is None else _keeper.pid


def _serve(plan: Plan, link: int) -> NoReturn:
    """Be it, and each of those that it starts."""
    try:
        syscalls.set_name("nbc-keeper")
        container = plan["view"]
        assert container is not None
        [link] = keep_only((-1, -1, -1), link)
        near = _socket.socket(fileno=link)
        try:
            init.set_oom_score(plan)
            groups.join(plan["join"])
            view.guard(plan)
            # Who is in there already could trace it else, and tell the shim whatever he likes.
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            answer = 0
        except OSError as error:
            answer = -(error.errno or errno.EINVAL)
        while True:
            try:
                near.send(answer.to_bytes(_INT, "little", signed=True), _socket.MSG_NOSIGNAL)
                data, received = rights.receive(link)
            except OSError:
                data, received = b"", []
            if not data:  # the shim is gone and PRoot with it, and those whom that traced would stay
                tracees.end(container["loader"], ())
                os._exit(0)
            answer = _bear(data, received)
            for descriptor in received:
                os.close(descriptor)
    finally:
        os._exit(1)


def _bear(data: bytes, received: list[int]) -> int:
    """The pid of a new sibling, or the number of the error with a minus."""
    text, stdin, out, err, report, go = rights.unpack(data[1:], received)
    try:
        borne, pidfd = syscalls.clone3(syscalls.CLONE_PARENT)
    except OSError as error:
        return -(error.errno or errno.EINVAL)
    if borne == 0:
        view.run(init.read(text), (stdin, out, err), report, go, is_first=bool(data[0]))
    os.close(pidfd)
    return borne
