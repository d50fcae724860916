"""What this host's own packet filter does with packets that are passed on: whether a policy drops those of containers' networks.

Read, never changed: rules of nf_tables (also those of the iptables that speaks to it) by netlink, those of the older iptables by
its socket options. Imports only what keeps a holder small. Source: include/uapi/linux/netfilter/nf_tables.h;
include/uapi/linux/netfilter_ipv4/ip_tables.h.
"""

from __future__ import annotations

import _socket
import struct

from . import netlink, syscalls
from .netlink import Netlink, attributes

_SUBSYSTEM = 10
_GETCHAIN, _GETRULE = _SUBSYSTEM << 8 | 4, _SUBSYSTEM << 8 | 7
_TABLE, _NAME, _HOOK, _POLICY = 1, 3, 4, 5  # NFTA_CHAIN_*
_FORWARD, _DROP = 2, 0  # NF_INET_FORWARD, NF_DROP
_FAMILIES = (1, 2)  # NFPROTO_INET, NFPROTO_IPV4
_SO_GET_INFO, _SO_GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32sI5I5III")
_ENTRY, _VERDICT = 112, 32  # sizes of struct ipt_entry, and of what stands before the verdict of a standard target
OURS = b"nbc-"
"""How the interfaces of our networks begin: a rule that names them is taken as one that lets them through."""


def drops_forwarded() -> str:
    """Whose policy drops what is passed on, in plain words; empty if nobody's does, or if that cannot be read."""
    try:
        return _nf_tables() or _iptables()
    except OSError:
        return ""


def _nf_tables() -> str:
    link = Netlink(netlink.NETFILTER)
    try:
        for body in link.dump(_GETCHAIN, struct.pack("!BBH", 0, 0, 0)):
            found = dict(attributes(body[4:]))
            hook = dict(attributes(found.get(_HOOK, b"")))
            if body[0] not in _FAMILIES or not hook or hook[1] != _be32(_FORWARD) or found.get(_POLICY) != _be32(_DROP):
                continue
            where = found[_TABLE], found[_NAME]
            rules = link.dump(_GETRULE, struct.pack("!BBH", body[0], 0, 0))
            if not any(OURS in rule for rule in rules):
                table, chain = (name.rstrip(b"\0").decode() for name in where)
                return f"chain {chain} of table {table}"
    finally:
        link.close()
    return ""


def _iptables() -> str:
    """The older iptables: asked only where its table is there, for to ask would make it."""
    try:
        with open("/proc/net/ip_tables_names") as file:
            if "filter\n" not in file:
                return ""
    except FileNotFoundError:
        return ""
    handle = _socket.socket(_socket.AF_INET, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _socket.IPPROTO_RAW)
    try:
        name = b"filter".ljust(32, b"\0")
        info = syscalls.getsockopt(handle.fileno(), _socket.SOL_IP, _SO_GET_INFO, name.ljust(_INFO.size, b"\0"))
        numbers = _INFO.unpack(info)
        last, size = numbers[7 + _FORWARD], numbers[13]
        head = struct.pack("=32sI4x", name, size)
        entries = syscalls.getsockopt(handle.fileno(), _socket.SOL_IP, _SO_GET_ENTRIES, head + bytes(size))[len(head) :]
    finally:
        handle.close()
    (verdict,) = struct.unpack_from("=i", entries, last + _ENTRY + _VERDICT)
    return "chain FORWARD of iptables" if verdict == -_DROP - 1 and OURS not in entries else ""


def _be32(value: int) -> bytes:
    return struct.pack("!I", value)
