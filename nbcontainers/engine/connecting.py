"""Networks and containers brought together, now and for later starts; who is on a network; what can be removed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import Conflict, NBContainersError
from ..results import ContainerState, Network
from ..runtime import namefiles
from ..runtime.networks import Networks
from ..runtime.process import Runtime
from . import networking as files_of
from . import networks as definitions
from . import networkwords, whereabouts
from .networking import Networking, Place
from .networks import NetworkFiles
from .selection import Selection


def connect(
    network: Network,
    place: Place,
    folder: Path,
    state: ContainerState,
    hostname: str,
    files: NetworkFiles,
    holder: Networks,
    *,
    strict: bool,
) -> tuple[str, ...]:
    """Put a container on one more network: at once if it runs, and at each later start. What this host cannot give of that is returned
    in plain words, or refused where the container is ``strict``.
    """
    networking = files_of.load(folder)
    files_of.require_bridge(networking, state.name)
    if any(one.network == network.name for one in networking.places):
        raise Conflict(f"container {state.name} is on network {network.name} already")
    place = networkwords.check(place, files)
    wanted = dataclasses.replace(
        networking,
        places=(*networking.places, place),
        needs_way_out=networking.needs_way_out or not network.internal,
    )
    lacks = () if network.internal else networkwords.shut_in(wanted, holder.host)
    if state.pid and wanted.publications and not state.ports and files_of.leads_in(wanted, files):
        lacks += ("published ports: they lead to the container once somebody starts it anew",)
    if lacks and strict:
        from ..runtime import launch

        raise launch.refusal(lacks, holder.host)
    if state.pid:
        with _reached(holder) as connection:
            made = connection.ask("connect", state.id, files_of.wanted(place, files))
        for address, _, _ in made["addresses"]:
            namefiles.add_host(folder, hostname, address, networking.names)
    wanted.save(folder)
    return lacks


def disconnect(
    network: Network, folder: Path, state: ContainerState, hostname: str, holder: Networks, *, force: bool
) -> None:
    """Take a container off a network: at once if it runs, and for each later start."""
    networking = files_of.load(folder)
    files_of.require_bridge(networking, state.name)
    files_of.place_of(networking, network.name)
    if state.pid:
        with contextlib.suppress(NBContainersError) if force else contextlib.nullcontext():
            with _reached(holder) as connection:
                connection.ask("disconnect", state.id, network.id)
            left = [address for one in _own(holder, state) for address, _, _ in one["addresses"]]
            namefiles.update_hosts(folder, hostname, left, networking.names)
    rest = tuple(one for one in networking.places if one.network != network.name)
    dataclasses.replace(networking, places=rest).save(folder)


def rename(holder: Networks, state: ContainerState, name: str) -> None:
    """Let a running container be found by its new name."""
    if state.pid:
        connection = holder.look()
        if connection is not None:
            with connection, contextlib.suppress(NBContainersError):
                connection.ask("rename", state.id, state.name, name)


def remove(network: Network, store: Path, runtime: Runtime) -> None:
    """Remove a network: Conflict while a container is on it."""
    holder = runtime.networks(store)
    here = [place["names"][0] for place in holder.places() if place["network_id"] == network.id]
    if here:
        raise Conflict(
            f"network {network.name} has active endpoints: {', '.join(sorted(here))}",
            hint="stop them, or take them off with 'nbcontainers network disconnect'",
        )
    NetworkFiles(store).remove(network)
    holder.forget(network.id)


def prune(store: Path, runtime: Runtime, chosen: Selection) -> tuple[str, ...]:
    """Remove the chosen networks of users that nobody is on, and have an idle holder end; the names of those removed."""
    files, holder = NetworkFiles(store), runtime.networks(store)
    used = {place["network_id"] for place in holder.places()}
    gone = [one for one in files.own() if one.id not in used]
    gone = [one for one in gone if chosen.is_before(one.created) and chosen.has_labels(dict(one.labels))]
    for network in gone:
        files.remove(network)
        holder.forget(network.id)
    holder.hurry()
    return tuple(network.name for network in gone)


def describe(
    networking: Networking, state: ContainerState, files: NetworkFiles, holder: Networks, exposed: Iterable[str]
) -> dict[str, Any]:
    """What ``inspect`` prints of a container's connection. Source: Docker Engine API 1.45, NetworkSettings.

    Like Docker it names among the ports those that are ``exposed`` only, where they could be published.
    """
    own = {one["network"]: one for one in _own(holder, state)} if state.pid and networking.mode == "bridge" else {}
    networks, leads_in = {}, False
    for place in networking.places:
        with contextlib.suppress(NBContainersError):  # a network that was removed while the container did not run
            network = files.find(place.network)
            networks[place.network] = _endpoint(network, place, own.get(place.network))
            leads_in |= not network.internal
    if networking.mode in ("none", "host"):
        networks[networking.mode] = _endpoint(files.find(networking.mode), Place(network=networking.mode), None)
    default = networks.get(definitions.DEFAULT, {})  # which Docker tells of a second time
    words = ("EndpointID", "Gateway", "IPAddress", "IPv6Gateway", "GlobalIPv6Address", "MacAddress")
    first = {key: default.get(key, "") for key in words}
    first |= {key: default.get(key, 0) for key in ("IPPrefixLen", "GlobalIPv6PrefixLen")}
    ports = {**dict.fromkeys(exposed if leads_in else ()), **bindings(state.ports)} if state.pid else {}
    return {**whereabouts.sandbox(state.pid), "Ports": ports, **first, "Networks": networks}


def bindings(ports: Iterable[tuple[str, int | str, int, str]]) -> dict[str, list[dict[str, str]]]:
    """Published ports by Docker's keys: address and ports of this host, port of the container, protocol of each."""
    made: dict[str, list[dict[str, str]]] = {}
    for address, number, port, protocol in ports:
        made.setdefault(f"{port}/{protocol}", []).append({"HostIp": address, "HostPort": str(number)})
    return made


def _endpoint(network: Network, place: Place, found: Mapping[str, Any] | None) -> dict[str, Any]:
    addresses = {6 if ":" in one[0] else 4: one for one in found["addresses"]} if found else {}
    four, six = (addresses.get(family, ("", 0, "")) for family in (4, 6))
    return {
        "IPAMConfig": {"IPv4Address": place.ip, "IPv6Address": place.ip6} if place.ip or place.ip6 else None,
        "Links": None,
        "DriverOpts": None,
        "Aliases": list(place.aliases) or None,
        "DNSNames": list(found["names"]) if found else None,
        "MacAddress": found["mac"] if found else place.mac,
        "NetworkID": network.id,
        "EndpointID": definitions.endpoint_id(network, found),
        "Gateway": four[2],
        "IPAddress": four[0],
        "IPPrefixLen": four[1],
        "IPv6Gateway": six[2],
        "GlobalIPv6Address": six[0],
        "GlobalIPv6PrefixLen": six[1],
    }


def _own(holder: Networks, state: ContainerState) -> list[dict[str, Any]]:
    return [place for place in holder.places() if place["guest"] == state.id]


def _reached(holder: Networks) -> Any:
    connection = holder.look()
    if connection is None:
        raise Conflict("the container's networks are not held any more", hint="start the container again")
    return connection
