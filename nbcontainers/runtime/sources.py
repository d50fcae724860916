"""Who comes to a published port is seen inside by the address he has outside.

The process that carries him (``forwarding``) goes on to the container from his own address, which is not ours: a transparent
socket may. What the container answers to that address is not passed on but handed to the socket, by a mark and a routing table of
the holder's network namespace, so no privilege on the host is needed. Imports only what keeps a holder small.
Source: ip(7), IP_TRANSPARENT; Documentation/networking/tproxy.rst.
"""

from __future__ import annotations

import _socket

from ..linux import nftables
from ..linux.network import Links, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MARK = _TABLE = 0x6E62  # "nb"
_IP_TRANSPARENT, _IP_BIND_ADDRESS_NO_PORT, _IPV6_TRANSPARENT = 19, 24, 75  # include/uapi/linux/in.h, in6.h
# Of a host's own loopback or of one link: a container would not answer to them by its gateway.
_HERE = (("127.0.0.0", 8), ("169.254.0.0", 16), ("::1", 128), ("fe80::", 10))


def keep(links: Links) -> nftables.Table:
    """Have answers to transparent sockets of this network namespace delivered to them, for as long as the table is kept.

    OSError where the kernel cannot.
    """
    table = nftables.Table("nbc-sources", [("prerouting", "filter")])
    try:
        table.add("prerouting", [*nftables.belongs_to_transparent_socket(), *nftables.mark(_MARK)])
        links.deliver_marked(_MARK, _TABLE, int(_socket.AF_INET))
    except BaseException:
        table.close()
        raise
    try:
        links.deliver_marked(_MARK, _TABLE, int(_socket.AF_INET6))
    except OSError:
        pass  # this host has no IPv6
    return table


class Sources:
    """Which addresses a carrier keeps: not those of ``networks``, (address, prefix) each, on which containers are themselves."""

    def __init__(self, networks: Iterable[tuple[str, int]]) -> None:
        self._near = [(_number(address, prefix), prefix, ":" in address) for address, prefix in (*_HERE, *networks)]

    def put(self, onward: _socket.socket, peer: str) -> None:
        """Have a socket towards a container come from a peer's address, where that can be; else it comes from the gateway."""
        address = peer.removeprefix("::ffff:")
        is_6 = ":" in address
        if is_6 != (onward.family == _socket.AF_INET6) or "%" in address:
            return
        if any(is_6 == six and _number(address, prefix) == number for number, prefix, six in self._near):
            return
        try:
            if is_6:
                onward.setsockopt(_socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
            else:
                onward.setsockopt(_socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
            onward.setsockopt(_socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            onward.bind((address, 0))
        except OSError:
            pass  # from the gateway, then


def _number(address: str, prefix: int) -> int:
    packed = pack(address)[0]
    return int.from_bytes(packed, "big") >> (len(packed) * 8 - prefix)
