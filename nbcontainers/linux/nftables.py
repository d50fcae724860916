"""Packet filter rules of a network namespace, by nfnetlink: tables that vanish with the process that made them.

No program is started and no rule of anybody else is touched. A rule is a list of expressions that load, compare and decide.
Source: include/uapi/linux/netfilter/nf_tables.h; NFT_TABLE_F_OWNER is in kernels since 5.12.
"""

from __future__ import annotations

import struct

from . import netlink
from .netlink import APPEND, CREATE, EXCL, Netlink, attribute, message, nested
from .network import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SUBSYSTEM = 10
_NEWTABLE, _NEWCHAIN, _NEWRULE = (_SUBSYSTEM << 8 | number for number in (0, 3, 6))
_BATCH_BEGIN, _BATCH_END = 16, 17
_INET = 1  # NFPROTO_INET: IPv4 and IPv6
_OWNER = 2
_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_PRIORITIES = {
    ("nat", "prerouting"): -100,
    ("nat", "output"): -100,
    ("nat", "postrouting"): 100,
    ("filter", "prerouting"): -150,  # before addresses are changed
}
_MARK, _IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 3, 6, 7, 15, 16
_REGISTER = 1
_IPV4, _IPV6 = 2, 10
_KNOWN = 2 | 4  # NF_CT_STATE_BIT of IP_CT_ESTABLISHED and of IP_CT_RELATED, in either direction
TCP, UDP = 6, 17

Expression = bytes


class Table:
    """A table of rules in the network namespace in which this was made; it is gone once this is closed, however that comes."""

    def __init__(self, name: str, chains: Sequence[tuple[str, str]]) -> None:
        """``chains`` are (hook, type): (``forward``, ``filter``), (``postrouting``, ``nat``) …; a chain is named for its hook."""
        self._netlink = Netlink(netlink.NETFILTER)
        self._name = attribute(1, name)
        made = [(_NEWTABLE, CREATE | EXCL, _head() + self._name + attribute(2, _be32(_OWNER)))]
        for hook, kind in chains:
            where = nested(
                4, attribute(1, _be32(_HOOKS[hook])), attribute(2, _be32(_PRIORITIES.get((kind, hook), 0) & 0xFFFFFFFF))
            )
            made.append((_NEWCHAIN, CREATE, _head() + self._name + attribute(3, hook) + where + attribute(7, kind)))
        try:
            self._commit(made)
        except BaseException:
            self._netlink.close()
            raise

    def close(self) -> None:
        """Take all of it away."""
        self._netlink.close()

    def add(self, chain: str, *rules: Sequence[Expression]) -> None:
        """Append rules to a chain, all of them or none."""
        self._commit(
            [
                (
                    _NEWRULE,
                    CREATE | APPEND,
                    _head() + self._name + attribute(2, chain) + nested(4, *(nested(1, one) for one in rule)),
                )
                for rule in rules
            ]
        )

    def _commit(self, messages: list[tuple[int, int, bytes]]) -> None:
        whole = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
        begin, end = (message(kind, netlink.REQUEST, whole, 0) for kind in (_BATCH_BEGIN, _BATCH_END))
        self._netlink.ask_all(messages, around=(begin, end))


def comes_from(name: str, *, is_it: bool = True) -> list[Expression]:
    """Packets that came in by an interface; a name that ends with ``*`` is a beginning."""
    return _compare_name(_IIFNAME, name, is_it)


def goes_to(name: str, *, is_it: bool = True) -> list[Expression]:
    """Packets that go out by an interface; a name that ends with ``*`` is a beginning."""
    return _compare_name(_OIFNAME, name, is_it)


def source(network: str, prefix: int) -> list[Expression]:
    """Packets from an address of a network."""
    return _compare_address(network, prefix, 12 if ":" not in network else 8)


def destination(network: str, prefix: int) -> list[Expression]:
    """Packets to an address of a network."""
    return _compare_address(network, prefix, 16 if ":" not in network else 24)


def port(protocol: int, number: int) -> list[Expression]:
    """Packets of TCP or UDP to a port."""
    load = _expression("payload", attribute(1, _be32(_REGISTER)), _field(2, 2), _field(3, 2), _field(4, 2))
    return [*_meta(_L4PROTO), _compare(bytes([protocol])), load, _compare(struct.pack("!H", number))]


def belongs_to_transparent_socket() -> list[Expression]:
    """Packets to a socket here that has an address which is not this host's (IP_TRANSPARENT)."""
    return [_expression("socket", _field(1, 0), _field(2, _REGISTER)), _compare(b"\1")]


def mark(number: int) -> list[Expression]:
    """Go on with a mark, by which a route can be chosen."""
    return [_load(_REGISTER, struct.pack("=I", number)), _expression("meta", _field(2, _MARK), _field(3, _REGISTER))]


def continues(*, is_it: bool = True) -> list[Expression]:
    """Packets of a connection that was let through before, or errors about one; the others begin one, or belong to none."""
    load = _expression("ct", _field(1, _REGISTER), _field(2, 0))  # NFT_CT_STATE
    return [load, _masked(struct.pack("=I", _KNOWN)), _compare(bytes(4), not is_it)]


def drop() -> Expression:
    """Not let through."""
    return _verdict(0)


def accept() -> Expression:
    """Let through, whatever the rules behind this one say."""
    return _verdict(1)


def masquerade() -> Expression:
    """Sent on as if from this host, and the answers given back to who asked."""
    return _expression("masq")


def redirect_to(address: str, number: int = 0) -> list[Expression]:
    """Sent to another address (and port) than it was meant for, and the answers as if from that."""
    packed, family = pack(address)
    loads = [_load(_REGISTER, packed)]
    parts = [attribute(1, _be32(1)), attribute(2, _be32(family)), attribute(3, _be32(_REGISTER))]
    if number:
        loads.append(_load(_REGISTER + 1, struct.pack("!H", number)))
        parts.append(attribute(5, _be32(_REGISTER + 1)))
    return [*loads, _expression("nat", *parts)]


def _compare_name(key: int, name: str, is_it: bool) -> list[Expression]:
    data = name[:-1].encode() if name.endswith("*") else name.encode().ljust(16, b"\0")
    return [*_meta(key), _compare(data, is_it)]


def _compare_address(network: str, prefix: int, offset: int) -> list[Expression]:
    packed, family = pack(network)
    size = len(packed)
    mask = ((1 << prefix) - 1 << (size * 8 - prefix)).to_bytes(size, "big")
    return [
        *_meta(_NFPROTO),
        _compare(bytes([family])),
        _expression("payload", attribute(1, _be32(_REGISTER)), _field(2, 1), _field(3, offset), _field(4, size)),
        _masked(mask),
        _compare(bytes(a & b for a, b in zip(packed, mask, strict=True))),
    ]


def _meta(key: int) -> list[Expression]:
    return [_expression("meta", attribute(1, _be32(_REGISTER)), _field(2, key))]


def _compare(data: bytes, is_it: bool = True) -> Expression:
    return _expression(
        "cmp", attribute(1, _be32(_REGISTER)), _field(2, 0 if is_it else 1), nested(3, attribute(1, data))
    )


def _masked(mask: bytes) -> Expression:
    registers = (attribute(kind, _be32(_REGISTER)) for kind in (1, 2))
    nothing = nested(5, attribute(1, bytes(len(mask))))
    return _expression("bitwise", *registers, _field(3, len(mask)), nested(4, attribute(1, mask)), nothing)


def _verdict(code: int) -> Expression:
    return _expression("immediate", attribute(1, _be32(0)), nested(2, nested(2, attribute(1, _be32(code)))))


def _load(register: int, data: bytes) -> Expression:
    return _expression("immediate", attribute(1, _be32(register)), nested(2, attribute(1, data)))


def _field(kind: int, value: int) -> bytes:
    return attribute(kind, _be32(value))


def _expression(name: str, *data: bytes) -> Expression:
    return attribute(1, name) + nested(2, *data)


def _head() -> bytes:
    return struct.pack("!BBH", _INET, 0, 0)


def _be32(value: int) -> bytes:
    return struct.pack("!I", value)
