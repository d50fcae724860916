"""What the engine and its worker say to each other over a socket: a length, a value, and with it descriptors.

Values are those of ``marshal``, which moves bytes as they are and is as fast as a copy; both ends are the same Python.
"""

from __future__ import annotations

import errno
import marshal
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from ..linux import rights

_LENGTH = struct.Struct("<Q")
_MOST_DESCRIPTORS = 16


def send(end: socket.socket, value: Any, descriptors: Sequence[int] = ()) -> None:
    """Send a value: None, booleans, numbers, text, bytes, and tuples, lists and dictionaries of those."""
    data = marshal.dumps(value)
    head = _LENGTH.pack(len(data))
    if descriptors:
        socket.send_fds(end, [head], list(descriptors))
    else:
        end.sendall(head)
    end.sendall(data)


def receive(end: socket.socket) -> tuple[Any, list[int]]:
    """The next value and the descriptors that came with it, which are now the caller's: EOFError if the other end is closed."""
    descriptors: list[int] = []
    try:
        (length,) = _LENGTH.unpack(_exactly(end, _LENGTH.size, descriptors))
        # Whoever is at the other end of the socket pair could do all that this process can.
        return marshal.loads(_exactly(end, length, descriptors)), descriptors  # noqa: S302
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def _exactly(end: socket.socket, length: int, descriptors: list[int]) -> bytearray:
    data = bytearray()
    while len(data) < length:
        piece, ancillary, flags, _ = end.recvmsg(min(length - len(data), 1 << 20), rights.room(_MOST_DESCRIPTORS))
        descriptors += rights.received(ancillary)
        if flags & socket.MSG_CTRUNC:  # the kernel gives as many as there is room for, and drops the others
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if not piece:
            raise EOFError
        data += piece
    return data
