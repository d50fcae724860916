"""A shim's process from its fork to its end: what it makes ready while nobody waits, and one container after another.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import gc
import marshal
import os
import select

from ..linux import pages, rights, slices, syscalls
from . import beforehand, collapse, init, mother, processes
from .crew import FREE, WORK
from .descriptors import close_others
from .plug import Plug
from .poller import happens
from .shim import Over, Shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

START = b"start"
_MOST = 100  # containers: what Python does not give back of each is little


def serve(requests: _socket.socket, link: _socket.socket, pattern: bytes, zygote: int) -> NoReturn:
    """Be the shim of the next container, which is expected to have a pattern, and of others in turn; never returns.

    ``zygote`` is its pid, and ``link`` leads to it.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    syscalls.set_name("nbc-shim")
    os.umask(0)
    os.setsid()
    processes.end_with(zygote)
    _make_ready(requests, pattern, zygote)
    for left in reversed(range(_MOST)):
        data, descriptors = rights.receive(requests.fileno(), len(START))
        if not data:
            beforehand.drop()
            break
        beforehand.announce(descriptors[0])  # what waits reads the plan while this process does
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)  # from here on it lives for its container
        requests.close()
        if not _serve_one(descriptors[0], descriptors[1], descriptors[2:], link) or not left:
            break
        gc.collect()  # before numbers of descriptors stand for others: what is forgotten closes its own
        close_others([link.fileno(), *mother.descriptors()])
        try:
            link.send(FREE, _socket.MSG_NOSIGNAL)
            word, descriptors = rights.receive(link.fileno())
        except OSError:  # it was killed
            break
        if word != WORK:
            break
        requests = _socket.socket(fileno=descriptors[0])
        processes.end_with(zygote)
        slices.take_short()
        mother.engage()
    mother.dismiss()
    os._exit(0)


def _serve_one(plan: int, control: int, more: list[int], link: _socket.socket) -> bool:
    """Run one container to its end; whether this process can take another.

    Args:
        plan: a descriptor of the marshalled plan.
        control: see ``Shim``.
        more: a stream socket for the one who started it, attached from the first byte on (only in the foreground), and the
            descriptors that ``plug`` knows.
        link: see ``Shim``.
    """
    shim = None
    try:
        work = init.read(plan)
        mother.expect(plan if work["pattern"]["mounts"] else -1)
        stdio = -1 if work["detach"] else more.pop(0)
        shim = Shim(work, control, Plug(work, more), link)
        shim.run(stdio)
    except Over as over:
        return over.is_free and not _has_children()
    except BaseException as error:
        # A fault of ours, with which the container ends.
        try:
            why = collapse.words(error)
            if shim is None or not shim.collapse(why):
                os.write(control, marshal.dumps(("failed", "shim", getattr(error, "errno", None) or 0, why, 125)))
        finally:
            os._exit(1)


def _make_ready(requests: _socket.socket, pattern: bytes, zygote: int) -> None:
    """Do what can be done before there is a message."""
    try:
        pidfd = os.pidfd_open(zygote)
    except OSError:
        os._exit(0)

    def is_wanted() -> bool:
        return happens(requests.fileno(), select.POLLIN, 0)

    if not is_wanted():  # else it would only come later, and touch more than is needed
        beforehand.rehearse()
    if pattern and not is_wanted():
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)  # what it makes is to be taken away
        beforehand.prepare(marshal.loads(pattern))  # noqa: S302 - from our own shim
        pages.fetch(is_wanted)
        beforehand.keep(requests.fileno(), pidfd)
        processes.end_with(zygote)
    os.close(pidfd)


def _has_children() -> bool:
    if mother.pid():
        return processes.children(os.getpid()) != [mother.pid()]
    try:
        os.waitpid(-1, os.WNOHANG)
        return True
    except ChildProcessError:
        return False
