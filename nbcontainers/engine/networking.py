"""How one container is connected: what is kept of that in its folder, and what it comes to at each start."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import Conflict, HostError, NBContainersError, NotFound
from ..linux import smallfiles, syscalls
from ..results import ContainerState
from ..runtime import namefiles
from ..runtime import state as states
from ..runtime.namefiles import Names, NetworkKind
from . import networks as definitions
from . import publish
from .asked import torn
from .networks import NetworkFiles
from .publish import Publication

if TYPE_CHECKING:
    from ..runtime.bridges import Wanted
    from ..runtime.networks import Networks
    from .names import ContainerNames

FILE = "network.json"
HOST_GATEWAY = "host-gateway"


class PlaceSettings(TypedDict, total=False):
    """How a container is to be on a network: names beside its own, and fixed addresses."""

    aliases: Sequence[str]
    ip: str
    ip6: str
    mac_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How a container wants to be on one network."""

    network: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networking:
    """How a container is connected: ``mode`` is none, host, bridge (on ``places``) or ``container:ID``."""

    mode: str
    places: tuple[Place, ...] = ()
    publications: tuple[Publication, ...] = ()
    names: Names = field(default_factory=Names)
    needs_way_out: bool = False
    """Whether somebody asked for a network that leads to the world, or for nothing to be missing."""

    @property
    def kind(self) -> NetworkKind:
        """What its files of names are like."""
        return "none" if self.mode == "none" else "bridge" if self.mode == "bridge" else "host"

    @property
    def other(self) -> str:
        """The ID of the container whose network this one shares, if so."""
        return self.mode.removeprefix("container:") if self.mode.startswith("container:") else ""

    def save(self, folder: Path) -> None:
        """Write it into the container's folder."""
        data = json.dumps(dataclasses.asdict(self)).encode()
        try:
            smallfiles.write(f"{folder}/{FILE}", data, new=True)
        except FileExistsError:
            smallfiles.write(f"{folder}/.{FILE}", data)
            os.rename(f"{folder}/.{FILE}", f"{folder}/{FILE}")


NONE = Networking(mode="none")
"""That of a container in whose folder nothing is written of it."""


def load(folder: Path) -> Networking:
    """What is written in a container's folder; where nothing is, it has a network of its own with loopback only.

    Raises:
        IntegrityError: what is written there is torn.
    """
    try:
        text = smallfiles.read(f"{folder}/{FILE}")
    except FileNotFoundError:
        return NONE
    try:
        data = json.loads(text)
        names = data["names"]
        hosts = tuple((name, address) for name, address in names.pop("hosts"))
        return Networking(
            mode=data["mode"],
            places=tuple(Place(**{**place, "aliases": tuple(place["aliases"])}) for place in data["places"]),
            publications=tuple(Publication(**one) for one in data["publications"]),
            names=Names(
                hosts=hosts,
                domain=names.pop("domain", ""),
                **{key: tuple(value) for key, value in names.items()},
            ),
            needs_way_out=data.get("needs_way_out", False),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise torn(folder / FILE, error) from error


def place(network: str, settings: PlaceSettings) -> Place:
    """A place from what ``connect`` was given."""
    return Place(
        network=network,
        aliases=tuple(settings.get("aliases", ())),
        ip=settings.get("ip", ""),
        ip6=settings.get("ip6", ""),
        mac=settings.get("mac_address", ""),
    )


def wanted(place: Place, files: NetworkFiles) -> Wanted:
    """A place as a holder is told of it."""
    addresses = {family: text for family, text in ((4, place.ip), (6, place.ip6)) if text}
    network = definitions.definition(files.find(place.network))
    return {"network": network, "addresses": addresses, "mac": place.mac, "aliases": list(place.aliases)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """What a start needs of a container's connection: see ``Runtime.start``."""

    entered: tuple[tuple[int, int], ...] = ()
    network: int = -1
    ports: tuple[publish.Port, ...] = ()
    not_enforced: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def not_enforced(networking: Networking, files: NetworkFiles) -> tuple[str, ...]:
    """What was asked of its network and does not hold, in plain words."""
    if not networking.publications or leads_in(networking, files):
        return ()
    if networking.mode == "host":
        return ("published ports: the container has this host's network, and its programs the ports they open",)
    where = "every network of the container is internal" if networking.places else "the container has no network"
    return (f"published ports: {where}, so nothing comes in by them",)


def first(networking: Networking) -> str:
    """The network that it was made for, as Docker's NetworkMode."""
    return networking.places[0].network if networking.places else networking.mode


def leads_in(networking: Networking, files: NetworkFiles) -> bool:
    """Whether its ports can be published: on a network that is not internal, if there is one."""
    return any(not files.find(place.network).internal for place in networking.places)


def no_way_out(why: str) -> tuple[str, ...]:
    """What is lacking of networks that do not lead to the world, in plain words; nothing where there is no reason why not."""
    return (f"no way out of its networks to the world: {why}",) if why else ()


@contextlib.contextmanager
def connected(
    networking: Networking,
    folder: Path,
    state: ContainerState,
    hostname: str,
    *,
    files: NetworkFiles,
    names: ContainerNames,
    networks: Networks,
    lives_in: str = "",
) -> Iterator[Connected]:
    """Give a container that is about to start its places, ports and files of names; what it is given goes with its shim.

    ``lives_in`` is the ID of another container where it is to live in that one's user namespace (see ``sharing``).

    Raises:
        Conflict: a port or an address is taken, or the container whose network it shares does not run.
        HostError: this host allows no networks between containers.
    """
    with contextlib.ExitStack() as held:
        around = _around(networking, lives_in, names, held) if lives_in else ()
        if networking.other:
            theirs = _enter_other(networking.other, names, held, through=networks.host.identity.userns)
            yield Connected(entered=_enter(around, theirs))
            return
        if networking.mode != "bridge":
            yield Connected(entered=around, not_enforced=not_enforced(networking, files))
            return
        if networks.host.is_viewed:
            raise HostError(
                "the container was made for networks, which cannot be had here",
                tier=networks.host.tier,
                hint="make it anew",
            )
        sockets, missing = held.enter_context(publish.Sockets()), not_enforced(networking, files)
        if networking.publications and not missing:
            sockets.open(networking.publications, running(names))
        connection = held.enter_context(networks.connect())
        called = [name for name in dict.fromkeys((state.name, state.id[:12], hostname)) if name]
        places = connection.ask(
            "reserve",
            state.id,
            called,
            [wanted(place, files) for place in networking.places],
            list(networking.names.servers),
            [(protocol, port) for _, _, port, protocol in sockets.ports],
            descriptors=[one.fileno() for one in sockets.sockets],
        )
        addresses = [address for place in places for address, _, _ in place["addresses"]]
        known = _with_gateway(networking.names, places, connection.about)
        namefiles.update_hosts(folder, hostname, addresses, known)
        lacks = no_way_out(connection.about["why_not"])
        yield Connected(
            entered=_enter(around, tuple(connection.entered())),
            network=connection.fileno(),
            ports=tuple(sockets.ports),
            not_enforced=(*missing, *(lacks if networking.needs_way_out else ())),
            lacks=lacks,
        )


def running(names: ContainerNames) -> tuple[ContainerState, ...]:
    """The containers of this store that run."""
    found = []
    for identifier in names.ids():
        with contextlib.suppress(NBContainersError):
            state = states.load_state(names.folder(identifier))
            if state.status in ("running", "paused", "restarting"):
                found.append(state)
    return tuple(found)


def _enter_other(
    identifier: str, names: ContainerNames, held: contextlib.ExitStack, *, through: bool
) -> tuple[tuple[int, int], ...]:
    """Descriptors of another container's network namespace and, where only ``through`` that can it be entered, user namespace."""
    state = states.load_state(names.folder(identifier))
    if not state.pid:
        raise Conflict(f"container {state.name}, whose network is to be shared, does not run", hint="start it first")
    found = []
    try:
        outer = (("user", syscalls.CLONE_NEWUSER),) if through else ()
        for name, flag in (*outer, ("net", syscalls.CLONE_NEWNET)):
            path = f"/proc/{state.pid}/ns/{name}"
            if os.readlink(path) == os.readlink(f"/proc/self/ns/{name}"):
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            found.append((descriptor, flag))
    except FileNotFoundError:
        raise Conflict(f"container {state.name}, whose network is to be shared, has just ended") from None
    return tuple(found)


def _around(
    networking: Networking, identifier: str, names: ContainerNames, held: contextlib.ExitStack
) -> tuple[tuple[int, int], ...]:
    """The user namespace of another container that one is to live in, from which its own networks can be reached only."""
    folder = names.folder(identifier)
    state, theirs = states.load_state(folder), load(folder)
    if networking.other not in ("", identifier) or (networking.mode == "bridge" and theirs.mode in ("none", "host")):
        wanted = "another container's network" if networking.other else "a network"
        raise Conflict(
            f"{wanted} in the user namespace of {state.name}, to which it does not belong",
            hint=f"share the network of {state.name} too (--network container:{state.name}), or take --network none",
        )
    try:
        descriptor = os.open(f"/proc/{state.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Conflict(f"container {state.name} does not run, so nothing of it can be shared") from None
    held.callback(os.close, descriptor)
    return ((descriptor, syscalls.CLONE_NEWUSER),)


def _enter(around: tuple[tuple[int, int], ...], further: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """First the user namespace to live in, if there is one to be shared, in place of any other."""
    return (*around, *(one for one in further if one[1] != syscalls.CLONE_NEWUSER)) if around else further


def _with_gateway(known: Names, places: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Names:
    """``host-gateway`` as the address by which the container reaches this host."""
    if not any(address == HOST_GATEWAY for _, address in known.hosts):
        return known
    doors = [gateway for place in places for _, _, gateway in place["addresses"] if ":" not in gateway]
    if not about["host"] or not doors:
        why = about["why_not"] or f"{about['how']} leads past it"
        raise NBContainersError(f"{HOST_GATEWAY}: this host cannot be reached from its networks: {why}")
    hosts = tuple((name, doors[0] if address == HOST_GATEWAY else address) for name, address in known.hosts)
    return dataclasses.replace(known, hosts=hosts)


def require_bridge(networking: Networking, name: str) -> None:
    """Conflict where a container is not on networks that it could be connected to or disconnected from."""
    if networking.mode != "bridge":
        raise Conflict(
            f"container {name} has the network {networking.mode!r}",
            hint="only a container on bridge networks can change them",
        )


def place_of(networking: Networking, network: str) -> Place:
    """A container's place on a network; NotFound if it has none."""
    for place in networking.places:
        if place.network == network:
            return place
    raise NotFound(f"the container is not on network {network!r}")
