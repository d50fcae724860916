"""The shims of a zygote, each of which can take another container when it is done with one.

In a rush, when the next message waits before there is somebody for it, that is half the price: to fork a shim, and to copy the memory
that it shares when it first uses it, costs as much as all that it then does. Without a rush the next shim is a new one, which makes
ready what the next container wants. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from ..linux import rights
from .poller import happens

FREE, WORK = b"f", b"w"
"""What a shim says that is done with a container, and what it hears if it is to take a message; it ends if its link is closed."""
_GIVE_WAY_S = 0.008
_REST_S = 0.05  # how long a rush can pause
_PATIENCE_S = 0.05  # less than after which an engine has further starts begin
_CHUNK = 1 << 16


def at_once() -> int:
    """How many containers can be started beside each other before they only get in each other's way."""
    return 2 * len(os.sched_getaffinity(0))  # while one waits, for the disk or for a process, another works


class Crew:
    """``links`` are the near ends of a SOCK_SEQPACKET socket to each."""

    def __init__(self) -> None:
        self.links: set[int] = set()
        self._poll = select.poll()
        self._few = at_once()
        self._resting: list[int] = []  # those that are done, in a rush
        self._is_rush = False
        self._is_hopeful = False  # one was done since that was last waited for in vain

    def add(self, link: int) -> None:
        """Know of one more."""
        self.links.add(link)
        self._poll.register(link, select.POLLIN)

    def hear(self, link: int) -> bytes:
        """What the one says that waits for a message; empty when it has ended."""
        while True:
            heard = self._poll.poll(_REST_S * 1000 if self._resting else None)
            if not heard:
                self._dismiss()
            for other, _ in heard:
                said = self._listen(other)
                if other == link:
                    return said

    def find(self, requests: int) -> int:
        """One that takes the next message from the socket; -1 if that is to be a new one."""
        if happens(requests, select.POLLIN, 0):
            self._is_rush = True
        # The container that is starting is to have the processors; not for long, and not where another is wanted already.
        elif not happens(requests, select.POLLIN, _REST_S if self._is_rush else _GIVE_WAY_S):
            self._is_rush = False
        self._hear_others(0)
        if not self._is_rush:
            self._dismiss()
        until = time.monotonic() + _PATIENCE_S
        while True:
            if self._resting:
                link = self._resting.pop()
                if _tell(link, requests):
                    return link
                self._forget(link)
            elif not self._is_rush or not self._is_hopeful or len(self.links) < self._few:
                return -1
            elif (left := until - time.monotonic()) > 0:
                self._hear_others(left)
            else:
                self._is_hopeful = False

    def _hear_others(self, wait_s: float) -> None:
        for link, _ in self._poll.poll(wait_s * 1000):
            self._listen(link)

    def _listen(self, link: int) -> bytes:
        try:
            said = os.read(link, _CHUNK)
        except OSError:  # it was killed before it read what it was told
            said = b""
        if said == FREE and self._is_rush and len(self._resting) < self._few:
            self._resting.append(link)
        elif said in {FREE, b""}:
            self._forget(link)
        self._is_hopeful = self._is_hopeful or said == FREE
        return said

    def _dismiss(self) -> None:
        for link in self._resting[:]:
            self._forget(link)

    def _forget(self, link: int) -> None:
        if link in self._resting:
            self._resting.remove(link)
        self.links.remove(link)
        self._poll.unregister(link)
        os.close(link)


def _tell(link: int, requests: int) -> bool:
    near = _socket.socket(fileno=link)
    try:
        near.sendmsg([WORK], rights.along(requests))
        return True
    except OSError:  # it was killed
        return False
    finally:
        near.detach()
