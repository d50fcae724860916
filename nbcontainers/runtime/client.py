"""Who is attached to a container's streams. Imports only what keeps the zygote small."""

from __future__ import annotations

import _socket

from . import frames

_MOST_KEPT = 1 << 20  # bytes that a full disk did not take, for a client that is slower than the container


class Client:
    """One of those who get a container's output: what was sent, what is on its way, and from where in the log the rest comes."""

    def __init__(self, socket: _socket.socket, behind: int) -> None:
        self.socket = socket
        self.reader = frames.Reader()
        self.pending = b""  # the rest of a frame that was begun
        self.begun = -1  # where in the log that one is; -1 when there is none, or it is not there
        self.behind = behind  # from where in the log it is still to be served; -1 when it is up to date
        self.wants_output = True
        self.kept = b""  # frames of what the log did not take, and of what came after them
        self.until = 0  # what the log has from here on is among them

    def needs(self, end: int) -> bool:
        """Whether it has not got all that the log has up to there: a frame that is cut off is read there from its beginning."""
        return 0 <= self.behind < end or 0 <= self.begun < end

    def keep(self, frame: bytes, end: int) -> None:
        """Hold a frame that comes after all that the log has up to ``end``; no more than fits."""
        if not self.kept:
            self.until = end
        if len(self.kept) + len(frame) <= _MOST_KEPT:
            self.kept += frame
