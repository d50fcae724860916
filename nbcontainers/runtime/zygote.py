"""The small single-threaded process that forks every container's shim, so that a notebook's kernel is never forked.

It keeps no state: a message on its socket carries the descriptors of one container's plan, control socket and streams, and
all that is said about the container goes between its engine and its shim. It ends when its engine's end of the socket closes.
Imports only what keeps it under 15 MB resident.
"""

from __future__ import annotations

import _socket
import gc
import marshal
import os
import select
import sys
import time

from ..linux import pages, syscalls
from . import beforehand, groups, shim, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

READY = b"ready"
START = b"start"
_PAUSE_S = 0.05
_GIVE_WAY_MS = 8
_CHUNK = 1 << 16


def main() -> NoReturn:
    """Serve the socket that is descriptor 0 until it closes; never returns."""
    syscalls.close_range(3)  # the sealed copy that this process was executed from
    requests = _socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(requests.fileno(), False)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    for number in range(1, signal.NSIG):  # what the engine ignored (nohup …) is no concern of containers
        if number not in {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ, 32, 33}:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the shims
    syscalls.set_name("nbc-zygote")
    sys.stdin = sys.stdout = sys.stderr = None
    gc.disable()
    gc.collect()
    gc.freeze()  # else each collection in a shim would copy every page that objects of the zygote lie on
    requests.send(READY)
    pattern = b""
    own = os.getpid()
    while True:
        # One shim is always there before it is wanted: a fork costs as much as all that a shim then does.
        taken, take = os.pipe()
        try:
            child = os.fork()
        except OSError:  # too many processes: the engine's messages wait until there is room
            os.close(taken)
            os.close(take)
            time.sleep(_PAUSE_S)
            continue
        if child == 0:
            os.close(taken)
            _wait_for_work(requests, take, pattern, own)
        os.close(take)
        said = os.read(taken, _CHUNK)
        os.close(taken)
        if said:
            pattern = said.removeprefix(shim.TAKEN)
            _give_way(requests)
            continue
        if pattern:  # it may have been killed: what it had made for the next container is without it
            groups.remove_directories(marshal.loads(pattern)["groups"]["directories"])  # noqa: S302 - from our own shim
        if _is_alone(requests):
            os._exit(0)


def _wait_for_work(requests: _socket.socket, take: int, pattern: bytes, parent: int) -> NoReturn:
    """Become the shim of the next container, which is expected to have a pattern; never returns. ``parent`` is the zygote."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    syscalls.set_name("nbc-shim")
    os.umask(0)
    os.setsid()
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        zygote = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(0)
    if not _is_wanted(requests, 0):  # else it would only come later, and touch more than is needed
        beforehand.rehearse()
    if pattern and not _is_wanted(requests, 0):
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)  # what it makes is to be taken away
        beforehand.prepare(marshal.loads(pattern))  # noqa: S302 - from our own shim
        pages.fetch(lambda: _is_wanted(requests, 0))
        beforehand.keep(requests.fileno(), zygote)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(zygote)
    if os.getppid() != parent:  # it may have been killed before its end could be heard of
        os._exit(0)
    data, descriptors = terminal.receive(requests.fileno(), len(START))
    if not data:
        beforehand.drop()
        os._exit(0)
    beforehand.announce(descriptors[0])  # what waits reads the plan while this process does
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)  # from here on it lives for its container
    requests.close()
    shim.main(descriptors[0], descriptors[1], descriptors[2:], take)


def _give_way(requests: _socket.socket) -> None:
    """Let the container that is starting have the processors; not for long, and not where another is wanted already."""
    _is_wanted(requests, _GIVE_WAY_MS)


def _is_wanted(requests: _socket.socket, wait_ms: int) -> bool:
    """Whether there is a message, now or within a time."""
    poll = select.poll()
    poll.register(requests.fileno(), select.POLLIN)
    return bool(poll.poll(wait_ms))


def _is_alone(requests: _socket.socket) -> bool:
    """Whether the engine is gone (a shim that was killed while it waited is none of that)."""
    poll = select.poll()
    poll.register(requests.fileno(), 0)
    return bool(poll.poll(0))
