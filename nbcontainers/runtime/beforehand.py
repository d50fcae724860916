"""What a shim does before it is wanted, in the time of nobody: what needs no plan, and the process of its container.

What the next container wants is as a rule what the last one wanted (see ``pattern``): its process is born into those namespaces,
joins its cgroups, makes the mounts, and waits. It is thrown away when the next container wants something else, or a place where
the host has mounted something since, which it would not see; when the host unmounts something, which it would keep busy; and when
nobody wants it for a while, for its age would be the container's. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select
import time

from ..linux import mapping, rights, syscalls
from . import groups, init, processes, record, rootfs
from .lender import Lender
from .mounttable import MountTable
from .poller import happens

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

    from .pattern import Pattern
    from .pipes import Pipes
    from .plan import Plan
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_MOST_AGE_S = 10.0
_PATIENCE_S = 1.0
_PLAN_ENTRIES = 800  # more than a plan has: memory for it is then there
_born = 0  # when this process began
_spare: Spare | None = None


class Spare:
    """A process that waits for a plan."""

    def __init__(self, pattern: Pattern) -> None:
        """Make it. OSError where the kernel does not want to."""
        self.pattern = pattern
        self.table = MountTable()
        self._near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.pid = self.pidfd = self.mounts = -1
        self.lender: Lender | None = None
        self._bell = os.eventfd(0)
        self._groups = groups.Own()
        try:
            self._clone(far.fileno())
            if pattern["uid_map"]:
                mapping.write(self.pid, pattern["uid_map"], pattern["gid_map"], helped=pattern["helped_maps"])
            self._near.send(b"g", _socket.MSG_NOSIGNAL)
        except BaseException:
            self.end()
            raise
        finally:
            far.close()
        self.mounts = rootfs.namespace(self.pid)

    def _clone(self, far: int) -> None:
        flags, wanted = self.pattern["flags"], self.pattern["groups"]
        self._groups.make(wanted["directories"])
        if wanted["into"]:
            flags |= syscalls.CLONE_INTO_CGROUP
        group = self._groups.descriptor if wanted["into"] else -1
        self.lender = Lender(flags, group, (far, self._bell), lambda *kept: init.wait(self.pattern, *kept))
        self.pid = self.lender.borrower
        self.pidfd = os.pidfd_open(self.pid)  # our child: its number is its own until it is waited for

    def announce(self, plan: int) -> None:
        """Let it read the plan, which ``plan`` is a descriptor of, while its shim does."""
        try:
            self._send(b"p", rights.along(plan))
            os.eventfd_write(self._bell, 1)
        except OSError:
            pass  # it was killed, as ``suits`` finds

    def suits(self, plan: Plan) -> bool:
        """Whether it is there, and is what somebody wants."""
        return (
            plan["pattern"] == self.pattern
            and self.table.is_as_it_was(_places(plan))
            and happens(self._near.fileno(), select.POLLIN, _PATIENCE_S)
            and self._near.recv(1) == init.READY
            and not happens(self.pidfd, select.POLLIN, 0)  # killed; its lender still has the other end of the socket
        )

    def begin(self) -> None:
        """Let it become the container's whose plan was announced. OSError if it is gone."""
        self._near.send(b"b", _socket.MSG_NOSIGNAL)

    def connect(self, pipes: Pipes, channel: int) -> None:
        """Give it what leads to its shim, which it waits for by and by: see ``init.run``. OSError if it is gone."""
        self._send(*rights.pack(*pipes.ends, channel))
        self._let_go()

    def end(self) -> None:
        """Throw it away, with its cgroups."""
        if self.pidfd >= 0:
            kill(self.pid, self.pidfd)
        if self.lender is not None:
            self.lender.end()
        if self.mounts >= 0:
            os.close(self.mounts)
        self._groups.remove()
        self._let_go()

    def _send(self, words: bytes, along: list[tuple[int, int, bytes]]) -> None:
        self._near.sendmsg([words], along, _socket.MSG_NOSIGNAL)

    def _let_go(self) -> None:
        self._near.close()
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1
        self.table.close()
        self._groups.let_go()


def rehearse() -> None:
    """Do what needs no plan, and use what the work will use: memory that a fork shares is copied when it is first touched."""
    global _born
    _born = processes.start_time(os.getpid())
    plan = [(str(number), [number << 40], b"%d" % number) for number in range(_PLAN_ENTRIES)]
    marshal.loads(marshal.dumps(plan))  # noqa: S302 - our own words
    record.to_json({"status": "running", "labels": [], "pid": _born})


def prepare(pattern: Pattern) -> None:
    """Have the process of a container wait; where there can be none, it is made when it is wanted, and says why not."""
    global _spare
    try:
        _spare = Spare(pattern)
    except OSError:
        pass


def keep(requests: int, zygote: int) -> None:
    """Keep what was prepared until there is a request, or until it is killed: another engine may start the container.

    ``zygote`` is a pidfd of the one process whose end ends the waiting, too.
    """
    if _spare is None:
        return
    table = _spare.table
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(zygote, select.POLLIN)
    poll.register(_spare.pidfd, select.POLLIN)
    poll.register(table.descriptor, select.POLLPRI)
    deadline = time.monotonic() + _MOST_AGE_S
    while True:
        happened = [descriptor for descriptor, _ in poll.poll(max(0, deadline - time.monotonic()) * 1000)]
        if table.descriptor in happened:
            table.changed = True
        if requests in happened and zygote not in happened:
            return
        if happened != [table.descriptor] or table.has_lost():
            drop()
            return


def next_pattern(plan: Plan) -> bytes:
    """What the next container is expected to want, marshalled; nothing where that cannot be made beforehand."""
    pattern = plan["pattern"]
    if not pattern["mounts"] or plan["next_groups"] is None:
        return b""
    return marshal.dumps({**pattern, "groups": plan["next_groups"]})


def announce(text: int) -> None:
    """Say to the process that waits, if there is one, what is coming; ``text`` is a descriptor of the plan."""
    if _spare is not None:
        _spare.announce(text)


def begin(plan: Plan) -> None:
    """Let the process that waited begin, if the plan that was announced suits it; else there is none any more."""
    if _spare is None:
        return
    try:
        if _spare.suits(plan):
            _spare.begin()
            return
    except OSError:
        pass  # it was killed
    drop()


def take(pipes: Pipes, channel: int) -> Spare | None:
    """The process that has begun, if there is one, with its descriptors: see ``Spare.connect``. It is the caller's."""
    global _spare
    spare, _spare = _spare, None
    if spare is None:
        return None
    try:
        spare.connect(pipes, channel)
        return spare
    except OSError:  # it was killed
        spare.end()
        return None


def drop() -> None:
    """Throw away what nobody wants."""
    global _spare
    spare, _spare = _spare, None
    if spare is not None:
        spare.end()


def kill(pid: int, pidfd: int) -> None:
    """End a child, and take note of its end."""
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(pidfd)


def _places(plan: Plan) -> Iterator[str]:
    """The paths of the host that a container is made of and shown."""
    _, source, lowers, words = plan["root"]
    yield from filter(os.path.isabs, (source, *lowers, *(word.partition("=")[2] for word in words)))
    for entry in plan["mounts"]:
        yield from filter(os.path.isabs, (entry[2], *(value for _, value in entry[5])))


def born() -> int:
    """When this process began: see ``processes.start_time``."""
    return _born or processes.start_time(os.getpid())
