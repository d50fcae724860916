"""The process that answers a container's calls about identities, one after the other, for as long as the container lives.

The shim forks it beside the container; it enters the container's user and mount namespaces, and stays in the pid namespace of
the shim, so that nobody inside can see or signal it. The zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select

from ...linux import notify, rights, syscalls
from ...linux.notify import Listener
from ..report import failure
from . import files, forks, making, people, world
from .caller import Caller
from .credentials import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from ..plan import Plan
    from ..poller import Poller
    from .world import World
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_CALLS = {**files.CALLS, **people.CALLS, **making.CALLS, **forks.CALLS}
# Calls of which the kernel's own answer is right, or gives the right error, where ours cannot be found.
_ASKING = {
    *files.ASKING,
    "execve",
    "execveat",
    "chroot",
    "pivot_root",
    "setns",
    "getsockopt",
}
_LOW = 3


def join(channel: int, program: bytes, ids: tuple[int, int, list[int]]) -> None:
    """Put this thread, and all that it will start, under the supervisor at the other end of a channel, as somebody.

    From here on its calls wait for the supervisor; wants CAP_SYS_ADMIN or no_new_privs. Closes the channel.
    """
    listener = notify.listen(program)
    end = _socket.socket(fileno=channel)
    end.sendmsg([marshal.dumps(ids)], rights.along(listener))
    end.close()
    os.close(listener)


class Supervisor:
    """The shim's end: one supervisor for each run of its container. ``channel`` is what a process needs to ``join``, -1 for none."""

    def __init__(self, lost: Callable[[], object]) -> None:
        """``lost`` is called when a supervisor ends that was not to."""
        self.channel = -1
        self._far = -1
        self._pid = -1
        self._pidfd = -1
        self._poller: Poller | None = None
        self._lost = lost

    @property
    def pid(self) -> int:
        """Its own process, -1 where there is none."""
        return self._pid

    def open(self) -> None:
        """Make the channel: before the container's first process is forked, which is to have it."""
        near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self.channel, self._far = near.detach(), far.detach()

    def start(self, poller: Poller, plan: Plan, pidfd: int, report: int, beside: int) -> None:
        """Fork it for the container whose first process has this pidfd.

        What goes wrong before the first call is said on ``report``, the report pipe of the container's start. ``beside`` is a process
        that the shim started for itself, 0 for none.
        """
        pid = os.fork()
        if pid == 0:
            try:
                _run(plan, pidfd, self._far, report, beside)
            finally:
                os._exit(1)
        os.close(self._far)
        self._far = -1
        self._pid, self._pidfd, self._poller = pid, os.pidfd_open(pid), poller
        poller.watch(self._pidfd, select.POLLIN, lambda events: self._ended())

    def _ended(self) -> None:
        assert self._poller is not None
        self._poller.forget(self._pidfd)
        self._lost()

    def end(self) -> None:
        """End it: it is still in the container's mount namespace, and what that shows must not be in use any more."""
        if self._pid > 0:
            assert self._poller is not None
            self._poller.forget(self._pidfd)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._pidfd)
        for descriptor in (self.channel, self._far):
            if descriptor >= 0:
                os.close(descriptor)
        self.channel = self._far = self._pid = self._pidfd = -1


def _run(plan: Plan, pidfd: int, channel: int, report: int, beside: int) -> NoReturn:
    try:
        syscalls.set_name("nbc-identity")
        _keep_only(pidfd, channel, report)
        os.umask(0)
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        end = _socket.socket(fileno=channel)
        came = _arrival(end)
        if came is None:
            os._exit(0)
        listener, who = came
        assert plan["identity"] is not None
        crowd = forks.Crowd(plan["identity"]["most"], {os.getpid(), beside})
        here = world.World(plan["identity"], who, plan["folder"], crowd)
        # A container that shares another's user namespace was made from inside of that.
        syscalls.setns(pidfd, plan["flags"] & syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        os.close(pidfd)
        # After the last change of credentials, which clears it; the shim may have died before.
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.fchdir(proc)
        os.close(proc)
        here.settle()
        handlers = {
            number: (_CALLS[name], name in _ASKING, name in files.ASKING)
            for number, name in plan["identity"]["calls"].items()
        }
    except ProcessLookupError:  # who was to be answered has ended, which the shim tells; then it ends this one
        end.recv(1)
        os._exit(0)
    except BaseException as error:
        number = error.errno or 0 if isinstance(error, OSError) else 0
        os.write(report, failure("identity", number, f"{type(error).__name__}: {error}", 125))
        os._exit(1)
    os.close(report)
    _serve(here, end, listener, who, handlers)


def _keep_only(*descriptors: int) -> None:
    """Close everything but these, which are none of the standard streams: those are /dev/null from here on."""
    first = 0
    for descriptor in sorted(descriptors):
        if first < descriptor:
            syscalls.close_range(first, descriptor - 1)
        first = descriptor + 1
    syscalls.close_range(first)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(null + 1, _LOW):
        os.dup2(null, number)


def _arrival(end: _socket.socket) -> tuple[int, Credentials] | None:
    """The listener of a process that joins, and who that is; None when nobody can come any more."""
    data, ancillary, _, _ = end.recvmsg(1 << 19, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    listener = int.from_bytes(ancillary[0][2][:4], "little")
    uid, gid, groups = marshal.loads(data)  # noqa: S302 - written by our own init
    return listener, world.first(uid, gid, groups)


def _serve(
    here: World,
    end: _socket.socket,
    descriptor: int,
    who: Credentials,
    handlers: dict[int, tuple[Callable[[World, Caller], None], bool, bool]],
) -> NoReturn:
    listeners = {descriptor: Listener(descriptor)}
    newcomers = {descriptor: who}
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(end.fileno(), select.POLLIN)
    while True:
        for ready, events in poll.poll():
            listener = listeners.get(ready)
            if listener is None:
                came = _arrival(end)
                if came is None:  # the shim is gone, or about to go
                    os._exit(0)
                listeners[came[0]] = Listener(came[0])
                newcomers[came[0]] = came[1]
                poll.register(came[0], select.POLLIN)
            elif events & select.POLLIN:
                _answer(here, listener, newcomers, handlers)
            else:  # the last of those who joined by it is gone
                poll.unregister(ready)
                os.close(ready)
                del listeners[ready]


def _answer(
    here: World,
    listener: Listener,
    newcomers: dict[int, Credentials],
    handlers: dict[int, tuple[Callable[[World, Caller], None], bool, bool]],
) -> None:
    got = listener.receive()
    if got is None:
        return
    call, pid, number, *args = got
    handler, asks, of_files = handlers[number]
    if of_files and not (newcomers or here.people.are_many or here.has_records):
        listener.proceed(call)
        return
    caller = Caller(listener, call, pid, args, here.is_moved)
    try:
        if newcomers and listener.descriptor in newcomers:
            here.people.become(pid, newcomers.pop(listener.descriptor))
        handler(here, caller)
    except OSError as error:
        if asks:
            listener.proceed(call)
        else:
            listener.fail(call, error.errno or 5)
    except Exception:
        # A fault of ours, or nonsense from inside. The kernel's answer is that of a single identity.
        listener.proceed(call)
    finally:
        caller.close()
