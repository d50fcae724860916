"""A process beside a shim that bears the first processes of its containers, one after another.

After a fork a page is copied when either side writes to it. A shim that takes one container after another, in a rush, would have its
memory copied again for each of them, for it works while the process does that it has just forked. A mother does nothing else, so
that hardly anything of hers is written to; what she bears is a child of the shim (CLONE_PARENT), and reads the plan itself. She goes
with her shim, or once a container has run for a while. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import errno
import gc
import os
import select

from ..linux import rights, syscalls
from . import init, processes
from .descriptors import keep_only
from .poller import happens

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

PATIENCE_S = 1.0  # how long a container may run before she is let go
_SILENCE_S = 5.0  # after which one that stands still is given up
_INT = 8  # bytes: the flags of clone3(2) have more than 32 bits
_MOST = 8  # descriptors of a request
_mother: Mother | None = None
_is_retired = False
_text = -1


class Mother:
    """``pid`` is hers, and ``descriptors`` are those that this process has of her."""

    def __init__(self) -> None:
        """Make her. OSError where there can be no process or descriptor more."""
        parent = os.getpid()
        self._near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            self.pid, self._pidfd = syscalls.clone3(0)
        except OSError:
            self._near.close()
            raise
        else:
            if self.pid == 0:
                _serve(parent, far.fileno())
        finally:
            far.close()
        self.descriptors = self._near.fileno(), self._pidfd

    def bear(self, text: int, flags: int, group: int, ends: tuple[int, ...]) -> tuple[int, int]:
        """(pid, pidfd) of the first process of the container whose plan ``text`` leads to; see ``syscalls.clone3`` and ``init.run``.

        ConnectionError where she is gone, TimeoutError where she says nothing: it may be that she has borne one all the same.
        """
        words, along = rights.pack(text, group, *ends)
        self._near.sendmsg([flags.to_bytes(_INT, "little") + words], along, _socket.MSG_NOSIGNAL)
        if not happens(self._near.fileno(), select.POLLIN, _SILENCE_S):
            raise TimeoutError
        answer = int.from_bytes(self._near.recv(_INT), "little", signed=True)
        if answer == 0:
            raise ConnectionResetError
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer, os.pidfd_open(answer)  # our child: its number is its own until it is waited for

    def end(self) -> None:
        """Kill her, and take note of her end."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._pidfd)
        self._near.close()


def engage() -> None:
    """Have one from here on, if there can be one: whoever has a mother has to be told by the kernel which children he has."""
    global _mother
    if _mother is None and not _is_retired and os.getpid() in processes.children(os.getppid()):
        try:
            _mother = Mother()
        except OSError:
            pass  # the shim does it itself


def expect(text: int) -> None:
    """Know a descriptor of the plan of the first process that comes; -1 for one that she cannot bear, beside which there is none."""
    global _text
    _text = text
    if text < 0:
        dismiss()


def bear(flags: int, group: int, ends: tuple[int, ...]) -> tuple[int, int] | None:
    """(pid, pidfd) of the one that is expected, None where there is no mother; OSError if the kernel does not want to.

    ``group`` is for CLONE_INTO_CGROUP, ``ends`` are what ``init.run`` takes: stdio, report, go, channel.
    """
    global _text
    text, _text = _text, -1  # a further run is the shim's own to begin: it may have other children by then
    if _mother is None or text < 0:
        return None
    try:
        return _mother.bear(text, flags, group, ends)
    except (ConnectionError, TimeoutError):
        dismiss()
        for borne in processes.children(os.getpid()):  # without a word from its shim it has not begun anything
            os.kill(borne, signal.SIGKILL)
            os.waitpid(borne, 0)
        return None


def dismiss() -> None:
    """Have none any more."""
    global _mother
    gone, _mother = _mother, None
    if gone is not None:
        gone.end()


def retire() -> None:
    """Have none any more, nor another: containers here stay for longer than she is of use."""
    global _is_retired
    _is_retired = True
    dismiss()


def pid() -> int:
    """Hers, 0 where there is none."""
    return 0 if _mother is None else _mother.pid


def descriptors() -> tuple[int, ...]:
    """Those that this process has of her."""
    return () if _mother is None else _mother.descriptors


def _serve(parent: int, link: int) -> NoReturn:
    """Be her, and each of those whom she bears."""
    try:
        processes.end_with(parent)
        syscalls.set_name("nbc-mother")
        gc.disable()  # it would write to what is to be shared
        [link] = keep_only((-1, -1, -1), link)
        near = _socket.socket(fileno=link)
        while True:
            data, received = rights.receive(link, descriptors=_MOST)
            if not data:
                os._exit(0)
            answer = _bear(data, received)
            for descriptor in received:
                os.close(descriptor)
            near.send(answer.to_bytes(_INT, "little", signed=True), _socket.MSG_NOSIGNAL)
    finally:
        os._exit(1)


def _bear(data: bytes, received: list[int]) -> int:
    """The pid of a new sibling, or the number of the error with a minus."""
    flags = int.from_bytes(data[:_INT], "little")
    text, group, stdin, out, err, report, go, channel = rights.unpack(data[_INT:], received)
    try:
        pid, pidfd = syscalls.clone3(flags | syscalls.CLONE_PARENT, cgroup=group)
    except OSError as error:
        return -(error.errno or errno.EINVAL)
    if pid == 0:
        init.run(init.read(text), lambda: ((stdin, out, err), report, go, channel))
    os.close(pidfd)
    return pid
