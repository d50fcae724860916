"""What docker's words ask for of a container's connection: networks, ports, and names that it is to know."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..errors import NBContainersError
from ..runtime.namefiles import Names
from . import networks as definitions
from . import publish
from .networking import HOST_GATEWAY, Networking, Place, no_way_out
from .networks import DEFAULT, NetworkFiles
from .options import RunOptions
from .publish import Publication

if TYPE_CHECKING:
    from ..runtime.host import Host
    from .names import ContainerNames

_MAC = re.compile(r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}")
_ON_NETWORKS = ("network_alias", "ip", "ip6", "mac_address")


def read(
    options: RunOptions, exposed: Sequence[str], *, files: NetworkFiles, names: ContainerNames, host: Host
) -> Networking:
    """What the words of ``docker run`` ask for; ``exposed`` are the ports that the image names.

    Raises:
        NBContainersError: words that mean nothing, or contradict each other.
        NotFound: there is no such network or container.
    """
    given = options.get("network") or _default(host)
    words = [given] if isinstance(given, str) else list(given)
    places = [_place(word) for word in words]
    mode = places[0].network
    known = Names(
        hosts=tuple(_host(word) for word in options.get("add_host", ())),
        servers=tuple(_server(word) for word in options.get("dns", ())),
        search=tuple(options.get("dns_search", ())),
        options=tuple(options.get("dns_option", ())),
        domain=options.get("domainname") or "",
    )
    publications = [one for word in options.get("publish", ()) for one in publish.parse(word)]
    if options.get("publish_all", False):
        named = {(one.port, one.protocol) for one in publications}
        further = publish.every((*exposed, *options.get("expose", ())))
        publications += [one for one in further if (one.port, one.protocol) not in named]
    if mode in ("none", "host") or mode.startswith("container:"):
        _refuse_on_networks(mode, len(places), options)
        if mode.startswith("container:"):
            _refuse_shared(options, publications)
            mode = "container:" + names.find(mode.removeprefix("container:"))
        if known.hosts:
            known = dataclasses.replace(known, hosts=tuple(_without_networks(mode, *entry) for entry in known.hosts))
        return Networking(mode=mode, publications=tuple(publications), names=known)
    first = dataclasses.replace(
        places[0],
        aliases=(*places[0].aliases, *options.get("network_alias", ())),
        ip=options.get("ip") or places[0].ip,
        ip6=options.get("ip6") or places[0].ip6,
        mac=_mac(options.get("mac_address") or places[0].mac),
    )
    checked = tuple(check(place, files) for place in (first, *places[1:]))
    if len({place.network for place in checked}) < len(checked):
        raise NBContainersError("one network twice", hint="name each network once")
    is_meant = bool(options.get("network") or options.get("strict"))  # else it is whatever this host gives
    return Networking(
        mode="bridge",
        places=checked,
        publications=tuple(publications),
        names=known,
        needs_way_out=is_meant and not all(files.find(place.network).internal for place in checked),
    )


def lacking(options: RunOptions, connection: Networking, host: Host) -> tuple[str, ...]:
    """What this host cannot give of a connection, known before it is there, in plain words."""
    if connection.mode == "none" and not options.get("network"):
        why = next(check.detail for check in host.checks if check.name == "container networks")
        return (f"networks between containers: none can be had here ({why})",)
    return shut_in(connection, host)


def shut_in(connection: Networking, host: Host) -> tuple[str, ...]:
    """What lacks of a connection that is meant to lead to the world and does not, in plain words."""
    if connection.needs_way_out and not (check := host.way_out()).holds:
        return no_way_out(check.detail)
    return ()


def check(place: Place, files: NetworkFiles) -> Place:
    """A place with the network's whole name and addresses that can be there."""
    network = files.find(place.network)
    if network.driver != "bridge":
        raise NBContainersError(f"the network {network.name!r} beside another", hint="it stands alone")
    if network.name == DEFAULT:
        wanted = "a fixed address" if place.ip or place.ip6 else "an alias" if place.aliases else ""
        if wanted:
            hint = "'nbcontainers network create NAME' makes a network that can give it"
            raise NBContainersError(f"{wanted} on the default network {DEFAULT!r}", hint=hint)
    return dataclasses.replace(
        place,
        network=network.name,
        ip=definitions.check_address(network, place.ip, 4) if place.ip else "",
        ip6=definitions.check_address(network, place.ip6, 6) if place.ip6 else "",
        mac=_mac(place.mac),
    )


def _default(host: Host) -> str:
    """The network of who names none."""
    if host.is_viewed:
        return "host"
    return DEFAULT if host.allows("container networks") else "none"


def _place(word: str) -> Place:
    """A word of ``--network``: a name, or ``name=NAME,alias=…,ip=…``."""
    if "=" not in word:
        return Place(network=_called(word))
    values: dict[str, Any] = {"aliases": ()}
    for part in word.split(","):
        key, _, value = part.partition("=")
        match key:
            case "name":
                values["network"] = _called(value)
            case "alias":
                values["aliases"] = (*values["aliases"], value)
            case "ip" | "ip6":
                values[key] = value
            case "mac-address":
                values["mac"] = value
            case _:
                hint = "wanted: name, alias, ip, ip6, mac-address"
                raise NBContainersError(f"unknown part {key!r} of the network {word!r}", hint=hint)
    if not values.get("network"):
        raise NBContainersError(f"a network without a name: {word!r}", hint="write name=NAME,alias=…")
    return Place(**values)


def _called(word: str) -> str:
    return DEFAULT if word == definitions.ALIAS else word


def _refuse_on_networks(mode: str, count: int, options: Mapping[str, Any]) -> None:
    if count > 1:
        raise NBContainersError(f"the network {mode!r} beside another", hint="it stands alone")
    for key in _ON_NETWORKS:
        if options.get(key):
            word = "--" + key.replace("_", "-")
            raise NBContainersError(f"{word} with the network {mode!r}", hint="it is for bridge networks")


def _refuse_shared(options: Mapping[str, Any], publications: Sequence[Publication]) -> None:
    """What belongs to the container whose network is shared."""
    shared: tuple[Literal["hostname", "add_host", "dns", "dns_search", "dns_option", "expose", "publish_all"], ...]
    shared = ("hostname", "add_host", "dns", "dns_search", "dns_option", "expose", "publish_all")
    for key in shared:
        if options.get(key):
            raise NBContainersError(
                f"--{key.replace('_', '-')} in another container's network", hint="give it to that container"
            )
    if publications:
        raise NBContainersError("published ports in another container's network", hint="publish them there")


def _host(word: str) -> tuple[str, str]:
    """``NAME:ADDRESS`` or ``NAME=ADDRESS`` of ``--add-host``."""
    match = re.fullmatch(r"([^:=\s]+)[:=](\S+)", word)
    address = match[2].strip("[]") if match else ""
    with contextlib.suppress(ValueError):
        if match and (address == HOST_GATEWAY or ipaddress.ip_address(address)):
            return match[1], address
    raise NBContainersError(f"not a host: {word!r}", hint=f"write NAME:ADDRESS, or NAME:{HOST_GATEWAY}")


def _without_networks(mode: str, name: str, address: str) -> tuple[str, str]:
    """``host-gateway`` where there is no bridge: on the host's own network the host is at the loopback, and nowhere on none."""
    if mode == "none" and address == HOST_GATEWAY:
        raise NBContainersError(f"--add-host {name}:{HOST_GATEWAY} without a network", hint="leave out --network none")
    return name, "127.0.0.1" if address == HOST_GATEWAY else address


def _server(word: str) -> str:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        raise NBContainersError(f"not the address of a name server: {word!r}", hint="such as 9.9.9.9") from None


def _mac(word: str) -> str:
    word = word.replace("-", ":")
    if word and (not _MAC.fullmatch(word) or not word.strip("0:")):
        raise NBContainersError(f"not a MAC address for one interface: {word!r}", hint="such as 02:42:ac:11:00:02")
    return word.lower()
