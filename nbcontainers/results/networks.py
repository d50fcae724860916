"""The networks of containers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A range of addresses of a network, its gateway, and the part of it from which addresses are given ("" for all of it).

    ``reserved`` are addresses that no container gets, each by the name of whom it is kept for.
    """

    network: str
    gateway: str
    ip_range: str = ""
    reserved: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that containers can be on; ``internal`` ones have no way out.

    ``attachable`` is what was said when it was made: every network here can be connected to.
    """

    id: str
    name: str
    created: float
    driver: str
    internal: bool = False
    attachable: bool = False
    ipv6: bool = False
    subnets: tuple[Subnet, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
