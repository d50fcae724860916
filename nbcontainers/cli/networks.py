"""The verbs of networks, and how ``run`` and ``create`` connect a container."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from ..engine import Engine, publish
from ..engine.census import is_called
from ..engine.networks import BUILT_IN
from ..engine.options import pairs
from ..engine.selection import Selection
from ..errors import NBContainersError, NotFound
from ..results import Network
from . import format as form
from .console import Console, each, inspect_each, warn
from .flags import CONTAINER, FORMAT, LABEL, NO_TRUNC, Command, Flag, Operand, filters, only, read_by, refused
from .template.values import Labels

COLUMNS = (("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope"))
NETWORK = Operand(name="NETWORK", help="name or ID of a network")
NETWORKS = Operand(name="NETWORK", help="names or IDs of networks", count="+")
_FILTERS = ("name", "id", "driver", "label", "scope", "type", "dangling")
ALIAS, IP, IP6 = "another name on the network", "a fixed address of IPv4", "a fixed address of IPv6"

_SWARM = "it is for the services of a swarm, and there is none"
_NO_CONFIG = "networks share no settings: give each its own"

CREATE = (
    Flag(
        names=("--network", "--net"),
        metavar="NETWORK",
        many=True,
        help="bridge (as without), none (loopback only), host, container:NAME, or a network's name",
    ),
    Flag(names=("--network-alias", "--net-alias"), metavar="NAME", many=True, help=ALIAS),
    Flag(names=("--ip",), metavar="ADDRESS", help=IP),
    Flag(names=("--ip6",), metavar="ADDRESS", help=IP6),
    Flag(names=("--mac-address",), metavar="ADDRESS", help="the address of its network interface"),
    Flag(
        names=("-p", "--publish"),
        metavar="[[ADDRESS:]HOST:]PORT",
        many=True,
        convert=read_by(publish.parse),
        help="let a port of this host lead to one of the container: 8080:80, 127.0.0.1::53/udp, 8000-8009:8000-8009",
    ),
    Flag(names=("-P", "--publish-all"), help="publish every port that the image exposes, on free ports of this host"),
    Flag(names=("--expose",), metavar="PORT", many=True, help="a port that -P publishes, too"),
    Flag(names=("--dns",), metavar="ADDRESS", many=True, help="a name server to ask in place of this host's"),
    Flag(names=("--dns-search",), metavar="DOMAIN", many=True, help="a domain to look short names up in (. for none)"),
    Flag(names=("--dns-option", "--dns-opt"), metavar="OPTION", many=True, help="an option for resolv.conf"),
    Flag(
        names=("--add-host",),
        metavar="NAME:ADDRESS",
        many=True,
        help="a line for the hosts file (or NAME:host-gateway)",
    ),
)


def create(engine: Engine, values: Namespace, console: Console) -> int:
    """Make a network and print its ID."""
    if values.driver != "bridge":
        hint = "bridge is the only one: what the others have (interfaces of this host, several hosts) cannot be had"
        raise NBContainersError(f"no network driver {values.driver!r}", hint=hint)
    network = engine.create_network(
        values.network,
        subnets=values.subnet,
        gateways=values.gateway,
        ip_ranges=values.ip_range,
        reserved=_reserved(values.aux_address),
        attachable=values.attachable,
        internal=values.internal,
        ipv6=values.ipv6,
        labels=pairs(values.label, "label"),
        options=pairs(values.opt, "option"),
    )
    console.print(network.id)
    return 0


def _reserved(words: list[str]) -> dict[str, str]:
    """``NAME=ADDRESS`` of ``--aux-address``, each name once."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, address = word.partition("=")
        if not (name and equals and address) or name in found:
            raise NBContainersError(f"not an auxiliary address: {word!r}", hint="write NAME=ADDRESS, each name once")
        found[name] = address
    return found


def ls(engine: Engine, values: Namespace, console: Console) -> int:
    """List networks."""
    chosen = Selection.parse(values.filter, _FILTERS)
    if wrong := set(chosen.get("type")) - {"builtin", "custom"}:
        raise NBContainersError(f"no type of networks: {min(wrong)!r}", hint="builtin or custom")
    every = sorted(engine.networks(), key=lambda network: form.natural(network.name))
    found = [network for network in every if _holds(engine, network, chosen)]
    if values.quiet:
        for network in found:
            console.print(network.id if values.no_trunc else network.id[:12])
        return 0
    text = form.rows([_row(network, whole=values.no_trunc) for network in found], values.format, COLUMNS)
    if text:
        console.print(text)
    return 0


def _row(network: Network, *, whole: bool) -> dict[str, Any]:
    return {
        "ID": network.id if whole else network.id[:12],
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv4": "true",
        "Internal": str(network.internal).lower(),
        "IPv6": str(network.ipv6).lower(),
        "Labels": Labels(network.labels),
        "CreatedAt": form.instant(network.created),
    }


def _holds(engine: Engine, network: Network, chosen: Selection) -> bool:
    """True if a network is one of those that are asked for: several words of one key widen the choice, but for labels."""
    kind = "builtin" if network.name in BUILT_IN else "custom"
    fits: dict[str, Callable[[str], bool]] = {
        "name": lambda value: is_called(value, network.name),
        "id": lambda value: value in network.id,
        "driver": lambda value: value == network.driver,
        "scope": lambda value: value == "local",
        "type": lambda value: value == kind,
    }
    dangling = chosen.truth("dangling")
    return (
        all(any(map(fits[key], chosen.get(key))) for key in fits if chosen.get(key))
        and chosen.has_labels(dict(network.labels))
        and (
            dangling is None or dangling == (kind == "custom" and not engine.inspect_network(network.id)["Containers"])
        )
    )


def inspect(engine: Engine, values: Namespace, console: Console) -> int:
    """All that is known of networks, as one JSON list."""
    return inspect_each(values.network, engine.inspect_network, values.format, console)


def rm(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove networks."""

    def remove(word: str) -> None:
        try:
            engine.remove_network(word)
        except NotFound:
            if not values.force:
                raise

    return each(values.network, console, remove)


def connect(engine: Engine, values: Namespace, console: Console) -> int:
    """Put a container on one more network."""
    network = engine.network(values.network)
    container = engine.container(values.container)
    warn(container.connect(network, aliases=values.alias, ip=values.ip or "", ip6=values.ip6 or ""), console)
    return 0


def disconnect(engine: Engine, values: Namespace, console: Console) -> int:
    """Take a container off a network."""
    engine.container(values.container).disconnect(engine.network(values.network), force=values.force)
    return 0


def port(engine: Engine, values: Namespace, console: Console) -> int:
    """Where the published ports of a container are found."""
    container = engine.container(values.container)
    wanted = values.port if not values.port or "/" in values.port else f"{values.port}/tcp"
    found = [
        (f"{inside}/{protocol}", f"{form.address(address)}:{number}")
        for address, number, inside, protocol in sorted(container.ports(), key=lambda one: (one[2], one[3]))
    ]
    if wanted:
        places = [place for name, place in found if name == wanted]
        if not places:
            raise NotFound(f"no public port {wanted!r} published for {container.name}", hint="publish it with -p")
        console.print("\n".join(places))
    elif found:
        console.print("\n".join(f"{name} -> {place}" for name, place in found))
    return 0


VERBS = (
    Command(
        name="port",
        act=port,
        summary="where the published ports of a container are found",
        operands=(CONTAINER, Operand(name="PORT", help="PORT[/PROTOCOL]: only this one", count="?")),
    ),
    Command(
        name="network create",
        act=create,
        summary="make a network",
        flags=(
            Flag(names=("-d", "--driver"), metavar="DRIVER", default="bridge", help="bridge"),
            Flag(
                names=("--subnet",), metavar="RANGE", many=True, help="its addresses: 172.20.0.0/16 (else a free range)"
            ),
            Flag(names=("--gateway",), metavar="ADDRESS", many=True, help="its own address (else the first)"),
            Flag(names=("--ip-range",), metavar="RANGE", many=True, help="the part from which addresses are given"),
            Flag(
                names=("--aux-address",),
                metavar="NAME=ADDRESS",
                many=True,
                help="an address that no container gets, for something else has it",
            ),
            Flag(names=("--attachable",), help="containers may be connected by hand, as to every network here"),
            Flag(names=("--internal",), help="no way out of it"),
            Flag(names=("--ipv4",), help="with addresses of IPv4, as without"),
            Flag(names=("--ipv6",), help="with addresses of IPv6, too"),
            Flag(names=("--label",), metavar="KEY=VALUE", many=True, convert=LABEL, help="a label on the network"),
            Flag(names=("-o", "--opt"), metavar="KEY=VALUE", many=True, help="com.docker.network.driver.mtu=BYTES"),
            only("--scope", "SCOPE", ("", "local"), "a network is of one host: local is the only scope"),
            only("--ipam-driver", "NAME", ("", "default"), "the engine gives the addresses itself: default"),
            refused(("--ipam-opt",), "the engine gives the addresses itself, and there is nothing to set"),
            refused(("--config-from",), _NO_CONFIG),
            refused(("--config-only",), _NO_CONFIG, is_switch=True),
            refused(("--ingress",), _SWARM, is_switch=True),
        ),
        operands=(Operand(name="NETWORK", help="what to call it"),),
    ),
    Command(
        name="network ls",
        act=ls,
        summary="list networks",
        flags=(
            Flag(names=("-q", "--quiet"), help="print only the IDs"),
            filters("by name, id, driver, label, scope, type or dangling"),
            NO_TRUNC,
            FORMAT,
        ),
    ),
    Command(
        name="network inspect",
        act=inspect,
        summary="all that is known of networks, as JSON",
        flags=(
            Flag(names=("-f", "--format"), metavar="FORMAT", help="json, or fields such as '{{.Name}}'"),
            refused(("-v", "--verbose"), _SWARM, is_switch=True),
        ),
        operands=(NETWORKS,),
    ),
    Command(
        name="network connect",
        act=connect,
        summary="put a container on one more network",
        flags=(
            Flag(names=("--alias",), metavar="NAME", many=True, help=ALIAS),
            Flag(names=("--ip",), metavar="ADDRESS", help=IP),
            Flag(names=("--ip6",), metavar="ADDRESS", help=IP6),
            refused(("--driver-opt",), "the interface of a container has no settings of its own"),
            refused(("--gw-priority",), "the first of its networks that leads out has the default route"),
            refused(("--link",), "on a network, containers find each other by name: --alias"),
            refused(("--link-local-ip",), "interfaces make their own link-local addresses"),
        ),
        operands=(NETWORK, CONTAINER),
    ),
    Command(
        name="network disconnect",
        act=disconnect,
        summary="take a container off a network",
        flags=(Flag(names=("-f", "--force"), help="also where nobody holds it there any more"),),
        operands=(NETWORK, CONTAINER),
    ),
    Command(
        name="network rm",
        act=rm,
        summary="remove networks",
        flags=(Flag(names=("-f", "--force"), help="no error where there is none"),),
        operands=(NETWORKS,),
    ),
)
