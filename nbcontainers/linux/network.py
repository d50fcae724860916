"""Interfaces, addresses and routes of a network namespace, by rtnetlink(7); imports only what keeps a holder of networks small."""

from __future__ import annotations

import _socket
import errno
import os
import struct

from . import netlink, syscalls
from .netlink import CREATE, EXCL, Netlink, attribute, nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, veth.h
_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _NEWROUTE, _DELROUTE, _GETROUTE, _NEWRULE = 16, 17, 18, 20, 24, 25, 26, 32
_ADDRESS, _IFNAME, _MTU, _MASTER, _LINKINFO, _NET_NS_FD = 1, 3, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 4, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: answer with the route that was found, not with what it means for one address
_RTA_TABLE, _FRA_FWMARK, _FRA_TABLE, _TO_TABLE = 15, 10, 15, 1
_SCOPE_HOST, _LOCAL = 254, 2
_TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _UNICAST = 254, 4, 0, 1
_SCOPE_NOWHERE = 255  # whichever scope it has
_LEAST_PREFIX = 8  # of a network that somebody has for himself, as 10.0.0.0/8
_IFF_UP = 1
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


class Links:
    """The interfaces of the network namespace in which this was made, wherever its maker goes afterwards."""

    def __init__(self) -> None:
        self._netlink = Netlink(netlink.ROUTE)

    def close(self) -> None:
        """Let go of the namespace."""
        self._netlink.close()

    def index(self, name: str) -> int:
        """An interface's number, 0 where there is none of this name."""
        try:
            answer = self._netlink.ask(_GETLINK, _link() + attribute(_IFNAME, name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0
        return int(_LINK.unpack_from(answer)[2])

    def has_default_route(self, name: str) -> bool:
        """Whether what goes to everywhere goes out by an interface: RTM_GETROUTE for an address that is nobody's."""
        index = self.index(name)
        if not index:
            return False
        body = _ROUTE.pack(_socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(
            _RTA_DST, _socket.inet_aton("198.51.100.1")
        )
        try:
            answer = self._netlink.ask(_GETROUTE, body)
        except OSError:
            return False
        return dict(netlink.attributes(answer[_ROUTE.size :])).get(_RTA_OIF) == _u32(index)

    def add_bridge(self, name: str, mac: bytes, mtu: int) -> int:
        """Make a bridge, up, and return its number. Its address is given: else it would change with what is connected."""
        what = attribute(_IFNAME, name) + attribute(_ADDRESS, mac) + attribute(_MTU, _u32(mtu))
        self._netlink.ask(_NEWLINK, _link(up=True) + what + _info("bridge"), CREATE | EXCL)
        return self.index(name)

    def add_veth(
        self, name: str, peer: str, namespace: int, *, master: int = 0, mac: bytes = b"", mtu: int = 1500
    ) -> None:
        """Make a pair of interfaces: ours, up (and a port of the bridge ``master``), and its peer in the other namespace."""
        inside = (
            _link() + attribute(_IFNAME, peer) + attribute(_NET_NS_FD, _u32(namespace)) + attribute(_MTU, _u32(mtu))
        )
        inside += attribute(_ADDRESS, mac) if mac else b""
        ours = attribute(_IFNAME, name) + attribute(_MTU, _u32(mtu))
        ours += attribute(_MASTER, _u32(master)) if master else b""
        self._netlink.ask(_NEWLINK, _link(up=True) + ours + _info("veth", nested(_PEER, inside)), CREATE | EXCL)

    def set_up(self, index: int) -> None:
        """Put an interface into service."""
        self._netlink.ask(_NEWLINK, _link(index, up=True))

    def remove(self, name: str) -> None:
        """Take an interface away, if it is there."""
        try:
            self._netlink.ask(_DELLINK, _link() + attribute(_IFNAME, name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """Give an interface an address of a network of so many bits."""
        packed, family = pack(address)
        body = _ADDR.pack(family, prefix, _IFA_F_NODAD, 0, index) + attribute(_IFA_LOCAL, packed)
        if family == _socket.AF_INET and prefix < 31:
            last = int.from_bytes(packed, "big") | (1 << 32 - prefix) - 1
            body += attribute(_IFA_BROADCAST, last.to_bytes(4, "big"))
        self._netlink.ask(_NEWADDR, body + attribute(_IFA_ADDRESS, packed), CREATE | EXCL)

    def add_route(self, index: int, gateway: str, destination: str = "", prefix: int = 0) -> None:
        """Send what goes to a network (else to everywhere that nothing else is said of) by a gateway on the interface."""
        packed, family = pack(gateway)
        body = _ROUTE.pack(
            family, prefix, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _UNICAST, 0
        ) + attribute(_RTA_GATEWAY, packed)
        body += attribute(_RTA_DST, pack(destination)[0]) if destination else b""
        self._netlink.ask(_NEWROUTE, body + attribute(_RTA_OIF, _u32(index)), CREATE | EXCL)

    def remove_route(self, index: int, destination: str, prefix: int) -> None:
        """Take a route to a network by an interface away, if it is there."""
        packed, family = pack(destination)
        body = _ROUTE.pack(family, prefix, 0, 0, _TABLE_MAIN, 0, _SCOPE_NOWHERE, 0, 0) + attribute(_RTA_DST, packed)
        try:
            self._netlink.ask(_DELROUTE, body + attribute(_RTA_OIF, _u32(index)))
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise

    def has_route(self, address: str) -> bool:
        """Whether what goes to an address is routed by more than a default route, whatever table a rule finds that in.

        Those of a VPN that takes over the default route in two halves, or a few more pieces, are default routes too.
        """
        packed, family = pack(address)
        body = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, _FIB_MATCH) + attribute(_RTA_DST, packed)
        try:
            answer = self._netlink.ask(_GETROUTE, body)
        except OSError as error:
            return error.errno != errno.ENETUNREACH  # else a route says that it is not to be reached
        return int(_ROUTE.unpack_from(answer)[1]) >= _LEAST_PREFIX

    def deliver_marked(self, mark: int, table: int, family: int) -> None:
        """Have packets with a mark taken in here, whatever address they are for: a rule, and a routing table of one route."""
        rule = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
        rule += attribute(_FRA_FWMARK, _u32(mark)) + attribute(_FRA_TABLE, _u32(table))
        self._netlink.ask(_NEWRULE, rule, CREATE | EXCL)
        route = _ROUTE.pack(family, 0, 0, 0, 0, _PROTOCOL_STATIC, _SCOPE_HOST, _LOCAL, 0)
        route += attribute(_RTA_TABLE, _u32(table)) + attribute(_RTA_OIF, _u32(self.index("lo")))
        self._netlink.ask(_NEWROUTE, route, CREATE | EXCL)


def pack(address: str) -> tuple[bytes, int]:
    """An address as the kernel has it, and its family."""
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    return _socket.inet_pton(family, address), int(family)


def within(namespace: int, own: int, act: Callable[[], T]) -> T:
    """Do something in another network namespace and come back to our own; for a process with one thread."""
    syscalls.setns(namespace, syscalls.CLONE_NEWNET)
    try:
        return act()
    finally:
        syscalls.setns(own, syscalls.CLONE_NEWNET)


def set_parameter(path: str, value: str) -> None:
    """Write a file of /proc/sys/net, which shows that of the writer's network namespace."""
    descriptor = os.open(f"/proc/sys/net/{path}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _link(index: int = 0, *, up: bool = False) -> bytes:
    return _LINK.pack(_socket.AF_UNSPEC, 0, index, _IFF_UP if up else 0, _IFF_UP if up else 0)


def _info(kind: str, *data: bytes) -> bytes:
    return nested(_LINKINFO, attribute(_INFO_KIND, kind), *([nested(_INFO_DATA, *data)] if data else []))


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)
