"""The networks of a store: a file for each, which says what it is; what is on it now, its holder knows."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import ipaddress
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ..errors import Conflict, IntegrityError, NBContainersError, NotFound
from ..results import Network, Subnet
from ..store import durable
from . import kinds, ranges

if TYPE_CHECKING:
    from ..runtime.bridges import Definition

DEFAULT = "bridge"
ALIAS = "default"
"""What ``--network`` calls the default one, too."""
BUILT_IN = (DEFAULT, "host", "none")
DRIVER_MTU = "com.docker.network.driver.mtu"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SMALLEST_MTU, _LARGEST_MTU = 1280, 65535


class NetworkSettings(TypedDict, total=False):
    """What ``Engine.create_network`` takes beside the name.

    ``subnets``, ``gateways`` and ``ip_ranges`` are one of IPv4, and with ``ipv6`` one of IPv6; an ``internal`` network has no way out.
    ``reserved`` are addresses by name that no container is given: some other device on the network has them. ``attachable`` is shown
    by ``inspect_network``, and asks for what every network allows: that containers are connected by hand.
    """

    subnets: Sequence[str]
    gateways: Sequence[str]
    ip_ranges: Sequence[str]
    reserved: Mapping[str, str]
    attachable: bool
    internal: bool
    ipv6: bool
    labels: Mapping[str, str]
    options: Mapping[str, str]


class NetworkFiles:
    """The networks that a store knows: ``ROOT/networks/NAME.json``, beside the built-in ones."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def _folder(self) -> Path:
        return self._root / "networks"

    def all(self) -> tuple[Network, ...]:
        """Every network, by name; the built-in ones among them."""
        found = []
        for name in sorted({*self._stems(), *BUILT_IN}):
            with contextlib.suppress(NotFound, IntegrityError):  # removed meanwhile, or damaged
                found.append(self.find(name))
        return tuple(found)

    def own(self) -> tuple[Network, ...]:
        """Those that somebody has made, by name: nothing is written for it, as the built-in one is where it is asked for."""
        return tuple(sorted((one for one in self._written() if one.name not in BUILT_IN), key=lambda one: one.name))

    def find(self, word: str) -> Network:
        """The network that a name, an ID or the beginning of an ID stands for.

        Raises:
            NotFound: there is none; the hint names the nearest.
            IntegrityError: what is written of it is damaged.
        """
        if word == DEFAULT:
            return self._by_stem(DEFAULT) or self._make_default()
        if _NAME.fullmatch(word):
            with contextlib.suppress(FileNotFoundError):
                return _read(self._folder / f"{word}.json")
        if word in BUILT_IN:
            return Network(
                id=word.encode().hex().ljust(64, "0"), name=word, created=0.0, driver=word.replace("none", "null")
            )
        named = {network.name: network for network in self._written()}
        matching = [network for network in named.values() if len(word) > 1 and network.id.startswith(word)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise Conflict(f"{word!r} is the beginning of {len(matching)} networks' IDs", hint="write more of the ID")
        near = difflib.get_close_matches(word, (*named, *BUILT_IN), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"'nbcontainers network create {word}' makes it"
        raise NotFound(f"no such network: {word!r}", hint=hint)

    def create(self, name: str, **settings: Unpack[NetworkSettings]) -> Network:
        """Make a bridge network; ranges of addresses that are not given are chosen, free of the host's and of other networks'.

        Raises:
            Conflict: the name is taken, or a range overlaps another network's.
            NBContainersError: a name, range, gateway or option that cannot be.
        """
        kinds.check(settings, of=NetworkSettings)
        if not _NAME.fullmatch(name):
            raise NBContainersError(f"invalid network name {name!r}", hint="letters, digits, '_', '.' or '-'")
        if name == ALIAS:
            raise NBContainersError(f"{name} stands for the network {DEFAULT}", hint="choose another name")
        options = dict(settings.get("options", {}))
        _check_options(options)
        internal, ipv6 = settings.get("internal", False), settings.get("ipv6", False)
        self._folder.mkdir(exist_ok=True)
        with durable.locked(self._folder / ".lock", exclusive=True):
            others = self.all()
            if any(network.name == name for network in others):
                hint = "choose another name" if name in BUILT_IN else f"'nbcontainers network rm {name}' removes it"
                raise Conflict(f"network {name!r} exists already", hint=hint)
            network = Network(
                id=secrets.token_hex(32),
                name=name,
                created=time.time(),
                driver="bridge",
                internal=internal,
                attachable=settings.get("attachable", False),
                ipv6=ipv6,
                subnets=ranges.reserve(
                    ranges.choose(
                        settings.get("subnets", ()),
                        settings.get("gateways", ()),
                        settings.get("ip_ranges", ()),
                        ipv6,
                        others,
                    ),
                    settings.get("reserved", {}),
                ),
                labels=tuple(sorted(settings.get("labels", {}).items())),
                options=tuple(sorted(options.items())),
            )
            self._write(network)
        return network

    def remove(self, network: Network | str) -> None:
        """Forget a network, which may be damaged: who is on it, the caller has looked at."""
        name = network if isinstance(network, str) else network.name
        if name in BUILT_IN:
            raise NBContainersError(f"{name} is a pre-defined network", hint="it cannot be removed")
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def _make_default(self) -> Network:
        """The network of containers that name none: made when it is first asked for."""
        with durable.saying_when_full(self._folder):
            self._folder.mkdir(exist_ok=True)
        with durable.locked(self._folder / ".default-lock", exclusive=True):
            if made := self._by_stem(DEFAULT):
                return made
            network = Network(
                id=secrets.token_hex(32),
                name=DEFAULT,
                created=time.time(),
                driver="bridge",
                subnets=ranges.choose((), (), (), False, self._written()),
            )
            self._write(network)
        return network

    def _write(self, network: Network) -> None:
        data = json.dumps(dataclasses.asdict(network)).encode()
        durable.replace(self._folder / f"{network.name}.json", data, temporary=self._folder)

    def _written(self) -> list[Network]:
        """Those that have a file, and a whole one."""
        return [network for network in map(self._by_stem, self._stems()) if network]

    def _stems(self) -> list[str]:
        return [path.stem for path in self._folder.glob("*.json")]

    def _by_stem(self, stem: str) -> Network | None:
        try:
            return _read(self._folder / f"{stem}.json")
        except (FileNotFoundError, IntegrityError):
            return None


def definition(network: Network) -> Definition:
    """A network as a holder is told of it."""
    return {
        "id": network.id,
        "name": network.name,
        "internal": network.internal,
        "mtu": int(dict(network.options).get(DRIVER_MTU, 1500)),
        "subnets": [
            {
                "network": str(ipaddress.ip_network(subnet.network).network_address),
                "prefix": ipaddress.ip_network(subnet.network).prefixlen,
                "gateway": subnet.gateway,
                "first": first,
                "last": last,
                "reserved": [address for _, address in subnet.reserved],
            }
            for subnet in network.subnets
            for first, last in [ranges.given(ipaddress.ip_network(subnet.ip_range or subnet.network))]
        ],
    }


def to_json(network: Network, places: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All that is known of a network, by Docker's keys. Source: Docker Engine API 1.45, NetworkInspect."""
    from .inspect import moment

    return {
        "Name": network.name,
        "Id": network.id,
        "Created": moment(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": None if network.name in BUILT_IN else {},
            "Config": [
                {"Subnet": one.network, "Gateway": one.gateway}
                | ({"IPRange": one.ip_range} if one.ip_range else {})
                | ({"AuxiliaryAddresses": dict(one.reserved)} if one.reserved else {})
                for one in network.subnets
            ],
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            place["guest"]: {
                "Name": place["names"][0],
                "EndpointID": endpoint_id(network, place),
                "MacAddress": place["mac"],
                "IPv4Address": next((f"{a}/{prefix}" for a, prefix, _ in place["addresses"] if ":" not in a), ""),
                "IPv6Address": next((f"{a}/{prefix}" for a, prefix, _ in place["addresses"] if ":" in a), ""),
            }
            for place in places
            if place["network_id"] == network.id
        },
        "Options": dict(network.options),
        "Labels": dict(network.labels),
    }


def endpoint_id(network: Network, place: Mapping[str, Any] | None) -> str:
    """What names a container's place on a network, nothing where it has none now."""
    return hashlib.sha256(f"{network.id}{place['guest']}{place['mac']}".encode()).hexdigest() if place else ""


def check_address(network: Network, text: str, family: int) -> str:
    """A fixed address that a container wants on a network, as the kernel writes it; NBContainersError if it cannot be there."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise NBContainersError(f"not an address: {text!r}", hint="such as 172.20.0.5 or fd00::5") from None
    if address.version != family:
        raise NBContainersError(f"{text} is no IPv{family} address", hint="--ip takes IPv4, --ip6 takes IPv6")
    for subnet in network.subnets:
        range_ = ipaddress.ip_network(subnet.network)
        if address in range_:
            own = {range_.network_address, ipaddress.ip_address(subnet.gateway)}
            if family == 4 and range_.prefixlen < 31:  # a network of two addresses has none for all
                own.add(range_.broadcast_address)
            if address in own:
                raise NBContainersError(f"{text} is the network's own address", hint=f"another of {subnet.network}")
            for name, kept in subnet.reserved:
                if kept == str(address):
                    hint = f"another of {subnet.network}"
                    raise Conflict(f"address {text} on network {network.name} is kept for {name!r}", hint=hint)
            return str(address)
    ranges = ", ".join(subnet.network for subnet in network.subnets)
    raise NBContainersError(f"address {text} is not on network {network.name}", hint=f"its range is {ranges}")


def _read(path: Path) -> Network:
    data = path.read_bytes()
    try:
        values = json.loads(data)
        values["subnets"] = tuple(
            Subnet(**{**one, "reserved": tuple((name, address) for name, address in one.get("reserved", ()))})
            for one in values["subnets"]
        )
        for key in ("labels", "options"):
            values[key] = tuple((name, value) for name, value in values[key])
        return Network(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = f"'nbcontainers network rm {path.stem}' removes it"
        raise IntegrityError(f"{path} is damaged: {error}", hint=hint) from error


def _check_options(options: Mapping[str, str]) -> None:
    for key, value in options.items():
        if key != DRIVER_MTU:
            raise NBContainersError(f"unknown network option {key!r}", hint=f"wanted: {DRIVER_MTU}=BYTES")
        if not value.isdigit() or not _SMALLEST_MTU <= int(value) <= _LARGEST_MTU:
            raise NBContainersError(
                f"{key}={value!r}", hint=f"a number from {_SMALLEST_MTU} to {_LARGEST_MTU} is wanted"
            )
