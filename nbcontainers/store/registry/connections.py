"""The sockets of one piece of work, so that all of it can be stopped at once, from another thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from typing import Any


class Stopped(Exception):
    """The work was stopped by who began it; nobody else hears of it."""


class Connections:
    """Remembers sockets as they are opened; ``cut`` ends what waits on them."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Hear of what httpcore does (its ``trace`` extension): the way to the sockets that it documents."""
        if name == "connection.connect_tcp.complete":
            opened = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets.add(opened)
            if self._stopped.is_set():
                self.cut()
        elif name == "http11.send_request_headers.started":
            self.check()

    def check(self) -> None:
        """Raise Stopped after ``cut``."""
        if self._stopped.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until ``cut``: Stopped then."""
        if self._stopped.wait(seconds):
            raise Stopped

    def cut(self) -> None:
        """Stop everything. A thread that reads or writes gets an error at once; closing the socket would leave it waiting."""
        self._stopped.set()
        with self._lock:
            for opened in self._sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)
