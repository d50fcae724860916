"""The networks of a holder: a bridge each, the addresses that are given on it, and the interfaces plugged into it.

Lives in the holder's network namespace, imports only what keeps a holder small, and believes what its engine says of a network.
"""

from __future__ import annotations

import _socket

from ..linux import nftables
from ..linux.network import Links, pack
from .uplink import INTERFACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypedDict

    from .uplink import Uplink

    class Subnet(TypedDict):
        """One range of addresses: its network, its gateway, the first and last address given unasked, and those never given."""

        network: str
        prefix: int
        gateway: str
        first: str
        last: str
        reserved: list[str]

    class Definition(TypedDict):
        """What a holder is told of a network; ``subnets`` has one of IPv4, one of IPv6, or both."""

        id: str
        name: str
        internal: bool
        mtu: int
        subnets: list[Subnet]

    class Wanted(TypedDict):
        """How a container wants to be on a network: fixed addresses by family (4, 6), its MAC, and names beside its own."""

        network: Definition
        addresses: dict[int, str]
        mac: str
        aliases: list[str]


class Refused(Exception):
    """What was asked for cannot be had; the text says why."""


class Endpoint:
    """A container's place on one network."""

    def __init__(self, bridge: Bridge, guest: str, names: list[str], mac: str) -> None:
        self.bridge = bridge
        self.guest = guest
        self.names = names
        self.addresses: dict[int, str] = {}  # by family: 4, 6
        self.mac = mac
        self.interface = ""

    def describe(self) -> dict[str, object]:
        """What engines are told of it."""
        definition = self.bridge.definition
        return {
            "network": definition["name"],
            "network_id": definition["id"],
            "guest": self.guest,
            "names": self.names,
            "mac": self.mac,
            "interface": self.interface,
            "addresses": [
                (self.addresses[family], subnet["prefix"], subnet["gateway"])
                for family, subnet in self.bridge.subnets.items()
            ],
        }


class Bridge:
    """One network of the holder, with those who are on it."""

    def __init__(self, definition: Definition, links: Links, table: nftables.Table | None, uplink: Uplink) -> None:
        """``table`` has chains that packets between networks go through, None where they do not; the host answers for the gateway."""
        self.definition = definition
        self.subnets = {6 if ":" in subnet["network"] else 4: subnet for subnet in definition["subnets"]}
        self.interface = f"n{definition['id'][:12]}"
        self.endpoints: list[Endpoint] = []
        mac = b"\x02\x42" + bytes.fromhex(definition["id"][:8])
        self.index = links.add_bridge(self.interface, mac, definition["mtu"])
        for subnet in definition["subnets"]:
            links.add_address(self.index, subnet["gateway"], subnet["prefix"])
        if table is not None:
            self._separate(table, uplink)
        # Last, so that nobody comes before the rules are there.
        ranges = [(subnet["network"], subnet["prefix"]) for subnet in definition["subnets"]]
        self._led_to = [range_ for range_ in ranges if uplink.lead_to(*range_)]

    def remove(self, links: Links, uplink: Uplink) -> None:
        """Take the bridge away, and the host's routes to those who were on it."""
        for range_ in self._led_to:
            uplink.lead_no_more_to(*range_)
        links.remove(self.interface)

    def _separate(self, table: nftables.Table, uplink: Uplink) -> None:
        """Let no packet through from or to another network, and with an internal one from or to the world.

        The host is not the world: it may begin something with an internal network, which answers, and begins nothing itself.
        """
        name, host = self.interface, uplink.host
        elsewhere = [] if self.definition["internal"] else nftables.goes_to("n*")
        rules = [[*nftables.comes_from(name), *nftables.goes_to(name, is_it=False), *elsewhere, nftables.drop()]]
        if self.definition["internal"]:
            rules.append([*nftables.goes_to(name), *nftables.comes_from(name, is_it=False), nftables.drop()])
            for family, (near, _) in uplink.pairs.items():
                width = 128 if family == 6 else 32
                asks = [*nftables.comes_from(INTERFACE), *nftables.goes_to(name), *nftables.source(near, width)]
                answers = [*nftables.comes_from(name), *nftables.goes_to(INTERFACE), *nftables.destination(near, width)]
                rules[:0] = [[*asks, nftables.accept()], [*answers, *nftables.continues(), nftables.accept()]]
        table.add("forward", *rules)
        if host and 4 in self.subnets and not self.definition["internal"]:
            gateway = nftables.destination(self.subnets[4]["gateway"], 32)
            table.add("prerouting", [*nftables.comes_from(name), *gateway, *nftables.redirect_to(host)])

    def join(self, guest: str, names: list[str], wanted: Wanted) -> Endpoint:
        """Give a container its addresses here: Refused where one that it wants is taken, or all are."""
        endpoint = Endpoint(self, guest, [*names, *wanted["aliases"]], wanted["mac"])
        for family in self.subnets:
            endpoint.addresses[family] = self._address(family, wanted["addresses"].get(family, ""))
        if not endpoint.mac:
            last = pack(endpoint.addresses[min(endpoint.addresses)])[0][-4:]
            endpoint.mac = ":".join(
                f"{byte:02x}" for byte in b"\x02\x42" + last
            )  # the same again with the same address
        self.endpoints.append(endpoint)
        return endpoint

    def leave(self, endpoint: Endpoint) -> None:
        """Give a container's addresses back."""
        self.endpoints.remove(endpoint)

    def named(self, name: str) -> Iterator[Endpoint]:
        """Those who go by a name here: ``name`` or ``name.network``."""
        short = name.removesuffix(f".{self.definition['name'].lower()}")
        for endpoint in self.endpoints:
            if any(one.lower() in {name, short} for one in endpoint.names):
                yield endpoint

    def _address(self, family: int, wanted: str) -> str:
        subnet = self.subnets[family]
        taken = {_number(endpoint.addresses[family]) for endpoint in self.endpoints}
        taken.update(map(_number, (subnet["gateway"], *subnet["reserved"])))
        if wanted:
            if _number(wanted) in taken:
                holder = next((e.names[0] for e in self.endpoints if e.addresses[family] == wanted), "the gateway")
                raise Refused(f"address {wanted} on network {self.definition['name']} is taken by {holder}")
            return wanted
        for number in range(_number(subnet["first"]), _number(subnet["last"]) + 1):
            if number not in taken:
                size = 4 if family == 4 else 16
                kind = _socket.AF_INET if family == 4 else _socket.AF_INET6
                return _socket.inet_ntop(kind, number.to_bytes(size, "big"))
        raise Refused(f"network {self.definition['name']} has no address left")


def _number(address: str) -> int:
    return int.from_bytes(pack(address)[0], "big")
