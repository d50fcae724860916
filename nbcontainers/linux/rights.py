"""Descriptors that come along with what is sent through a Unix socket, and who is at its other end. The zygote imports this module.

Source: unix(7), SCM_RIGHTS, SO_PEERCRED; cmsg(3).
"""

from __future__ import annotations

import _socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_INT = 4
_UCRED = 12  # bytes: pid, uid, gid
_CHUNK = 1 << 16
MOST = 253  # SCM_MAX_FD of include/net/scm.h


def along(*descriptors: int) -> list[tuple[int, int, bytes]]:
    """What ``sendmsg`` takes to send these along; they stay open here."""
    rights = b"".join(one.to_bytes(_INT, sys.byteorder) for one in descriptors)
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []


def pack(*descriptors: int) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """What to send of descriptors, -1 being none, for ``unpack``: a byte for each that says whether there is one, and what comes along."""
    return bytes(one >= 0 for one in descriptors), along(*(one for one in descriptors if one >= 0))


def unpack(words: bytes, descriptors: Iterable[int]) -> list[int]:
    """The descriptors that were packed, as they are called here."""
    given = iter(descriptors)
    return [next(given) if is_one else -1 for is_one in words]


def received(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors of what ``recvmsg`` gave."""
    found: list[int] = []
    for level, kind, payload in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            found += memoryview(payload[: len(payload) // _INT * _INT]).cast("i")
    return found


def receive(channel: int, most: int = _CHUNK, descriptors: int = 8) -> tuple[bytes, list[int]]:
    """Bytes from a Unix socket and the descriptors that came with them, closed on exec; more than there is room for are lost."""
    socket = _socket.socket(fileno=channel)
    try:
        data, ancillary, _, _ = socket.recvmsg(most, room(descriptors), _socket.MSG_CMSG_CLOEXEC)
    finally:
        socket.detach()
    return data, received(ancillary)


def peer(socket: _socket.socket) -> int:
    """The process at the other end of a Unix socket: for who came there, the one that listened."""
    return int.from_bytes(socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED)[:_INT], sys.byteorder)


def room(descriptors: int) -> int:
    """What ``recvmsg`` is to be told so that so many can come."""
    return _socket.CMSG_SPACE(descriptors * _INT)
