"""The small single-threaded process that forks every container's shim, so that a notebook's kernel is never forked.

It keeps no state: a message on its socket carries the descriptors of one container's plan, control socket and streams, and
all that is said about the container goes between its engine and its shim. It ends when its engine's end of the socket closes.
Imports only what keeps it under 15 MB resident.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import sys
import time

from ..linux import syscalls
from . import beforehand, shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

READY = b"ready"
START = b"start"
_MOST_DESCRIPTORS = 8
_INT = 4
_PAUSE_S = 0.05
_GIVE_WAY_MS = 8


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
            _wait_for_work(requests, take)
        os.close(take)
        has_work = os.read(taken, 1)
        os.close(taken)
        if has_work:
            _give_way(requests)
        elif _is_alone(requests):
            os._exit(0)


def _wait_for_work(requests: _socket.socket, take: int) -> NoReturn:
    """Become the shim of the next container; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    syscalls.set_name("nbc-shim")
    os.umask(0)
    os.setsid()
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    beforehand.rehearse()
    descriptors = _receive(requests)
    if not descriptors:
        os._exit(0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)  # from here on it lives for its container
    os.write(take, b"t")
    os.close(take)
    requests.close()
    shim.main(descriptors[0], descriptors[1], descriptors[2:])


def _give_way(requests: _socket.socket) -> None:
    """Let the container that is starting have the processors; not for long, and not where another is wanted already."""
    poll = select.poll()
    poll.register(requests.fileno(), select.POLLIN)
    poll.poll(_GIVE_WAY_MS)


def _is_alone(requests: _socket.socket) -> bool:
    """Whether the engine is gone (a shim that was killed while it waited is none of that)."""
    poll = select.poll()
    poll.register(requests.fileno(), 0)
    return bool(poll.poll(0))


def _receive(requests: _socket.socket) -> list[int]:
    """The descriptors of the next message; none when the engine is gone."""
    size = _socket.CMSG_SPACE(_MOST_DESCRIPTORS * _INT)
    data, ancillary, _, _ = requests.recvmsg(64, size, _socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            descriptors += memoryview(payload[: len(payload) // _INT * _INT]).cast("i")
    return descriptors if data else []
