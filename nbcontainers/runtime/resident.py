"""A container that has places on the networks of a holder: its interfaces and addresses inside, and the names that it may ask for.

Imports only what keeps a holder small.
"""

from __future__ import annotations

import _socket

from ..linux import network, nftables
from ..linux.network import Links
from . import dns
from .bridges import Endpoint


class Resident:
    """A container that has places on networks here, for as long as its connection lasts."""

    def __init__(self, identifier: str, names: list[str], servers: list[str]) -> None:
        self.id = identifier
        self.names = names
        self.guest = dns.Guest(self.look_up, self.look_back, servers)
        self.endpoints: list[Endpoint] = []
        self.namespace = -1
        self.interfaces: list[str] = []  # our ends
        self.dns: list[_socket.socket] = []
        self.diversion: nftables.Table | None = None
        self.listening: list[int] = []  # sockets of the host for published ports, each with its protocol and port
        self.ports: list[tuple[str, int]] = []
        self.targets: tuple[str, ...] = ()  # the addresses to which what comes there is carried
        self.carrier: _socket.socket | None = None  # the lifeline of the process that does so

    def settle(self, fresh: list[Endpoint], resolver: dns.Resolver) -> None:
        """Inside the container's namespace: addresses, routes, and the sockets by which it asks for names."""
        links = Links()
        try:
            if not self.dns:
                links.set_up(links.index("lo"))
            for endpoint in fresh:
                index = links.index(endpoint.interface)
                for family, subnet in endpoint.bridge.subnets.items():
                    links.add_address(index, endpoint.addresses[family], subnet["prefix"])
                links.set_up(index)
            _lead_out(links, [*self.endpoints, *fresh])
        finally:
            links.close()
        if not self.dns:
            udp = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
            tcp = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
            self.dns = [udp, tcp]
            self.diversion = _bind(udp, tcp)
            tcp.listen(16)
            resolver.serve(udp, tcp, self.guest)

    def withdraw(self, endpoint: Endpoint) -> None:
        """Inside the container's namespace: take an interface away; what went out by it goes out by another one, if it can."""
        links = Links()
        try:
            links.remove(endpoint.interface)
            _lead_out(links, [one for one in self.endpoints if one is not endpoint])
        finally:
            links.close()

    def update(self) -> None:
        """Only who has a way out may have the world's names looked up."""
        self.guest.goes_out = any(not e.bridge.definition["internal"] for e in self.endpoints)

    def look_up(self, name: str, size: int) -> list[bytes] | None:
        """The addresses of ``size`` bytes that a name has on its networks; None if nobody there is called that."""
        found = [one for endpoint in self.endpoints for one in endpoint.bridge.named(name)]
        if not found:
            return None
        addresses = [network.pack(address)[0] for one in found for address in one.addresses.values()]
        return [address for address in addresses if len(address) == size]

    def look_back(self, address: str) -> str:
        """The name of the one who has an address on its networks, with the network's; empty if nobody has."""
        for endpoint in self.endpoints:
            for one in endpoint.bridge.endpoints:
                if address in one.addresses.values():
                    return f"{one.names[0]}.{endpoint.bridge.definition['name']}"
        return ""


def _lead_out(links: Links, endpoints: list[Endpoint]) -> None:
    """Have the first network that is not internal be the way out, of each family, where there is none yet."""
    for family in (4, 6):
        ways = [one for one in endpoints if not one.bridge.definition["internal"] and family in one.addresses]
        if ways:
            try:
                links.add_route(links.index(ways[0].interface), ways[0].bridge.subnets[family]["gateway"])
            except FileExistsError:
                pass


def _bind(udp: _socket.socket, tcp: _socket.socket) -> nftables.Table | None:
    """Give the sockets that are asked for names their address, in the network namespace of the caller, and return what leads there.

    Port 53 is left to the container, which may be a name server itself: who binds it on every address could not beside another's. As in
    Docker, what is sent there on this address is diverted to a port that is free; where no rules can be made, it is taken.
    """
    try:
        table = nftables.Table("nbc-names", [("output", "nat")])
    except OSError:
        table = None
    try:
        for protocol, one in ((nftables.UDP, udp), (nftables.TCP, tcp)):
            one.bind((dns.ADDRESS, 0 if table else dns.PORT))
            if table:
                here = [*nftables.destination(dns.ADDRESS, 32), *nftables.port(protocol, dns.PORT)]
                table.add("output", [*here, *nftables.redirect_to(dns.ADDRESS, one.getsockname()[1])])
    except BaseException:
        if table:
            table.close()
        raise
    return table
