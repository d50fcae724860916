"""An engine's end of the process that forks its containers' shims."""

from __future__ import annotations

import socket
import subprocess
import sys

from ..errors import HostError
from . import service, spawn, zygote

_PATIENCE_S = 10.0  # how long it may take to end, once its socket is closed
_MOMENT_S = 1.0  # and once it is killed


class Zygote:
    """The near end of a zygote: HostError where none starts."""

    def __init__(self) -> None:
        for sealed in (True, False):
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self._process = spawn.start("zygote", stdin=far.fileno(), sealed=sealed)
            except BaseException:
                near.close()
                raise
            finally:
                far.close()
            self._socket = near
            near.settimeout(spawn.START_S)
            if _is_ready(near):
                near.settimeout(None)
                return
            self.close()
        raise HostError("the zygote does not start", hint=f"does {sys.executable} -I -S run here?")

    @property
    def pid(self) -> int:
        """Its pid."""
        return self._process.pid

    def outlives_its_shim(self) -> bool:
        """Whether it can fork a further shim. Whoever killed the one that is gone may have killed this, too, which takes a moment."""
        try:
            self._process.wait(timeout=_MOMENT_S)
        except subprocess.TimeoutExpired:
            return True
        return False

    def send(self, descriptors: list[int]) -> None:
        """Hand over what one container's shim needs (see ``service``). OSError where it is not there any more."""
        socket.send_fds(self._socket, [service.START], descriptors)

    def close(self) -> None:
        """Let it end, and wait for that."""
        self._socket.close()
        try:
            self._process.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def abandon(self) -> None:
        """Close the socket only: the process is another's child."""
        self._socket.close()
        self._process.returncode = 0


def _is_ready(near: socket.socket) -> bool:
    try:
        return near.recv(64) == zygote.READY
    except OSError:
        return False
