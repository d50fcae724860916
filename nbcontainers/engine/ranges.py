"""Ranges of addresses for networks: those that are asked for, those that are free, and what of them a container can get."""

from __future__ import annotations

import dataclasses
import ipaddress
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import Conflict, NBContainersError
from ..results import Network, Subnet

# Docker's own pools, in its order (moby, libnetwork/ipamutils).
_POOLS = (*(f"172.{number}.0.0/16" for number in range(17, 32)), *(f"192.168.{n}.0/20" for n in range(0, 256, 16)))
_OURS = "nbc-"  # how interfaces that lead to the networks of a store begin
_MOST_GIVEN_6 = 1 << 16  # addresses of an IPv6 range that are given unasked

Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def choose(
    subnets: Sequence[str], gateways: Sequence[str], ip_ranges: Sequence[str], ipv6: bool, others: Iterable[Network]
) -> tuple[Subnet, ...]:
    """The ranges asked for, with what is missing chosen."""
    taken = [ipaddress.ip_network(one.network) for network in others for one in network.subnets]
    chosen = [_range(text, "subnet") for text in subnets]
    if len({one.version for one in chosen}) < len(chosen):
        raise NBContainersError("more than one subnet of a kind", hint="one of IPv4, and one of IPv6 with --ipv6")
    if any(one.version == 6 for one in chosen) and not ipv6:
        raise NBContainersError("a subnet of IPv6 on a network without IPv6", hint="add --ipv6")
    for one in chosen:
        clash = next((other for other in taken if one.version == other.version and one.overlaps(other)), None)
        if clash is not None:
            raise Conflict(f"subnet {one} overlaps {clash}, which another network has", hint="choose another range")
    versions = {one.version for one in chosen}
    if 4 not in versions:
        chosen.insert(0, _free(taken))
    if ipv6 and 6 not in versions:
        chosen.append(ipaddress.IPv6Network((b"\xfd" + secrets.token_bytes(7) + bytes(8), 64)))
    doors = [_address(text) for text in gateways]
    parts = [_range(text, "ip-range") for text in ip_ranges]
    made = []
    for one in chosen:
        if one.num_addresses < 4:
            raise NBContainersError(f"subnet {one} has no room", hint="a /30 or wider is wanted")
        part = next((range_ for range_ in parts if _within(range_, one)), None)
        door = next((address for address in doors if address in one), one.network_address + 1)
        if door == one.network_address or (one.version == 4 and door == one.broadcast_address):
            raise NBContainersError(
                f"gateway {door} stands for all of {one}", hint=f"such as {one.network_address + 1}"
            )
        made.append(Subnet(network=str(one), gateway=str(door), ip_range=str(part or "")))
    for address in doors:
        if not any(address in one for one in chosen):
            raise NBContainersError(f"gateway {address} is in none of the network's subnets", hint="add --subnet")
    for range_ in parts:
        if not any(_within(range_, one) for one in chosen):
            raise NBContainersError(f"ip-range {range_} is in none of the network's subnets", hint="add --subnet")
    return tuple(made)


def reserve(subnets: tuple[Subnet, ...], reserved: Mapping[str, str]) -> tuple[Subnet, ...]:
    """The ranges with the addresses that are kept for others than containers."""
    kept: dict[str, list[tuple[str, str]]] = {one.network: [] for one in subnets}
    for name, text in reserved.items():
        address = _address(text)
        place = next((one for one in subnets if address in ipaddress.ip_network(one.network)), None)
        if place is None:
            raise NBContainersError(
                f"auxiliary address {address} is in none of the network's subnets", hint="add --subnet"
            )
        if str(address) == place.gateway:
            raise Conflict(f"auxiliary address {address} is the network's own", hint=f"another of {place.network}")
        kept[place.network].append((name, str(address)))
    return tuple(dataclasses.replace(one, reserved=tuple(kept[one.network])) for one in subnets)


def _within(range_: Net, whole: Net) -> bool:
    return range_.version == whole.version and range_.network_address in whole and range_.prefixlen >= whole.prefixlen


def _free(taken: Sequence[Net]) -> Net:
    """The first pool that neither another network nor a route of this host uses.

    If all are used, one to which only a network of another store has a route: nothing but the host's way to its own is missing there.
    """
    routes = _routes()
    for used in (routes, [one for one in routes if not one[1].startswith(_OURS)]):
        for pool in _POOLS:
            network = ipaddress.ip_network(pool)
            if not any(other.version == 4 and network.overlaps(other) for other in (*taken, *(one for one, _ in used))):
                return network
    raise Conflict("every range of addresses for networks is in use", hint="name one with --subnet")


def _routes() -> list[tuple[Net, str]]:
    """Where this host's routes lead and by which interface, but for the default one; see proc_net(5), route."""
    try:
        rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    except OSError:
        return []
    found = [(bytes.fromhex(row[1])[::-1], bytes.fromhex(row[7])[::-1], row[0]) for row in rows]
    return [
        (ipaddress.IPv4Network((address, str(ipaddress.IPv4Address(mask)))), interface)
        for address, mask, interface in found
        if any(mask)
    ]


def _range(text: str, what: str) -> Net:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise NBContainersError(
            f"not a range of addresses for --{what}: {error}", hint="such as 172.20.0.0/16"
        ) from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise NBContainersError(f"not an address: {text!r}", hint="such as 172.20.0.1") from None


def given(range_: Net) -> tuple[str, str]:
    """The first and last address of a range that a container can get: neither the network's nor the broadcast address."""
    first = range_.network_address + 1
    last = range_.broadcast_address - 1 if range_.version == 4 else range_.broadcast_address
    if int(last) - int(first) > _MOST_GIVEN_6:
        last = first + _MOST_GIVEN_6
    return str(first), str(last)
