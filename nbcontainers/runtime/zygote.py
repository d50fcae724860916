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
import sys
import time

from ..linux import slices, syscalls
from . import groups, service, shim
from .crew import Crew
from .poller import happens

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

READY = b"ready"
_PAUSE_S = 0.05


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
    slices.take_short()  # what it forks is woken, does a little, and somebody waits for that
    sys.stdin = sys.stdout = sys.stderr = None
    gc.disable()
    gc.collect()
    gc.freeze()  # else each collection in a shim would copy every page that objects of the zygote lie on
    requests.send(READY)
    pattern = b""
    crew = Crew()
    own = os.getpid()
    while True:
        # One shim always waits before it is wanted: a fork costs as much as all that a shim then does.
        link = crew.find(requests.fileno())
        if link < 0:
            try:
                near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
                child = os.fork()
            except OSError:  # too many processes or files: the engine's messages wait until there is room
                time.sleep(_PAUSE_S)
                continue
            if child == 0:
                for other in (near.detach(), *crew.links):  # or the zygote's end would not be theirs
                    os.close(other)
                service.serve(requests, far, pattern, own)
            far.close()
            link = near.detach()
            crew.add(link)
        said = crew.hear(link)
        if said:
            pattern = said.removeprefix(shim.TAKEN)
            continue
        if pattern:  # it may have been killed: what it had made for the next container is without it
            groups.remove_directories(marshal.loads(pattern)["groups"]["directories"])  # noqa: S302 - from our own shim
        if happens(requests.fileno(), 0, 0):  # the engine is gone, and nobody killed the shim
            os._exit(0)
