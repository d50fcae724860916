"""Published ports: docker's words for them, the sockets of this host that they mean, and who has one that is taken."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import Conflict, HostError, NBContainersError
from ..results import ContainerState

Port = tuple[str, int, int, str]  # address and port of this host, port of the container, protocol
_WORD = re.compile(
    r"(?:(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:.]*):)?(?P<host>\d*(?:-\d+)?):)?(?P<port>\d+(?:-\d+)?)(?:/(?P<protocol>\w*))?",
    re.ASCII,
)
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_PROTOCOLS = (*_KINDS, "sctp")
_TRIES = 20
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what publishing without an address means, as in Docker
_HINT = "write [[ADDRESS:]HOST_PORT:]PORT[/tcp|/udp], where a port may be a range such as 8000-8010"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One port of the container and the ports of this host that may stand for it, any free one where ``first`` is 0."""

    address: str
    first: int
    last: int
    port: int
    protocol: str
    is_named: bool = True
    """False where it is published as one of all that are exposed."""

    @property
    def host(self) -> str:
        """The ports of this host as docker writes them: one, ``FIRST-LAST``, or nothing for any free one."""
        return f"{self.first}-{self.last}" if self.last > self.first else str(self.first or "")


def parse(word: str) -> tuple[Publication, ...]:
    """What a word of ``-p`` publishes; NBContainersError where it means nothing, or cannot be had."""
    return _carried(_read(word), word)


def exposed(word: str) -> tuple[Publication, ...]:
    """What ``--expose`` or EXPOSE names, on free ports of this host; which says nothing of whether it can be published."""
    found = _read(word.rpartition(":")[2])
    return tuple(replace(one, is_named=False) for one in found)


def every(words: Iterable[str]) -> tuple[Publication, ...]:
    """What ``-P`` publishes of words of ``--expose`` and EXPOSE; NBContainersError where it cannot be had."""
    return tuple(one for word in dict.fromkeys(words) for one in _carried(exposed(word), word))


def _carried(found: tuple[Publication, ...], word: str) -> tuple[Publication, ...]:
    for one in found:
        if one.protocol not in _KINDS:
            raise NBContainersError(f"cannot publish {one.protocol} in {word!r}", hint="tcp or udp")
    return found


def _read(word: str) -> tuple[Publication, ...]:
    match = _WORD.fullmatch(word)
    if not match:
        raise NBContainersError(f"cannot publish {word!r}", hint=_HINT)
    protocol = (match["protocol"] or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise NBContainersError(f"no protocol {protocol!r} with ports in {word!r}", hint=", ".join(_PROTOCOLS))
    address = (match["address"] or "").strip("[]")
    if address:
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        except OSError:
            raise NBContainersError(f"not an address of this host: {address!r} in {word!r}", hint=_HINT) from None
    inside = _range(match["port"], word)
    outside = _range(match["host"], word) if match["host"] else None
    if 0 in inside:
        raise NBContainersError(f"port 0 of a container in {word!r}", hint=_HINT)
    if outside is not None and len(inside) > 1 and len(outside) != len(inside):
        raise NBContainersError(f"ranges of different lengths in {word!r}", hint=_HINT)
    if outside is not None and len(inside) == 1 and outside[0] < outside[-1] and 0 in outside:
        raise NBContainersError(f"port 0 of this host in a range in {word!r}", hint="0 alone is any free port")
    made = []
    for place, port in enumerate(inside):
        if outside is None:
            first = last = 0
        elif len(inside) == 1:
            first, last = outside[0], outside[-1]
        else:
            first = last = outside[place]
        made.append(Publication(address=address, first=first, last=last, port=port, protocol=protocol))
    return tuple(made)


def _range(text: str, word: str) -> range:
    first, _, last = text.partition("-")
    if not first.isdigit():
        raise NBContainersError(f"cannot publish {word!r}", hint=_HINT)
    low, high = int(first), int(last or first)
    if not low <= high <= 65535:
        raise NBContainersError(f"not a port or range of ports: {text!r} in {word!r}", hint=_HINT)
    return range(low, high + 1)


class Sockets:
    """The sockets of this host for published ports, bound: ``ports`` says what each is; closed with this unless handed on."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.ports: list[Port] = []

    def open(self, publications: Iterable[Publication], others: Sequence[ContainerState]) -> None:
        """Bind them all.

        Raises:
            Conflict: a port is taken; the message says which container or program has it.
            HostError: this user may not have it.
        """
        for one in publications:
            last: OSError | None = None
            for number in range(one.first, one.last + 1):
                try:
                    self._bind(one, number)
                    last = None
                    break
                except OSError as error:
                    last = error
                    if error.errno != errno.EADDRINUSE:
                        break
            if last is not None:
                if any(one.first <= number <= one.last and kind == one.protocol for _, number, _, kind in self.ports):
                    hint = "leave one of them out, or publish each on a port of its own"
                    raise Conflict(f"port {_place(one)} is published twice", hint=hint) from last
                raise _refusal(one, last, others) from last

    def _bind(self, one: Publication, number: int) -> None:
        addresses = [one.address] if one.address else list(_EVERYWHERE)
        for attempt in range(_TRIES):
            bound: list[socket.socket] = []
            wanted = number
            try:
                for address in addresses:
                    try:
                        bound.append(_listen(address, wanted, one.protocol))
                    except OSError as error:
                        if address == "::" and error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                            continue  # a host without IPv6
                        raise
                    wanted = bound[0].getsockname()[1]
            except OSError as error:
                for made in bound:
                    made.close()
                if number or error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                    raise
                continue  # a free port of IPv4 need not be one of IPv6
            self.sockets += bound
            self.ports += [(made.getsockname()[0], wanted, one.port, one.protocol) for made in bound]
            return

    def close(self) -> None:
        """Let go of them."""
        for one in self.sockets:
            one.close()

    def __enter__(self) -> Sockets:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listen(address: str, number: int, protocol: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, _KINDS[protocol])
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, number))
        if protocol == "tcp":
            made.listen(4096)
    except BaseException:
        made.close()
        raise
    return made


def _place(one: Publication) -> str:
    ports = f"{one.first}-{one.last}" if one.last > one.first else f"{one.first}"
    return f"{one.address or '*'}:{ports}/{one.protocol}"


def _refusal(one: Publication, error: OSError, others: Sequence[ContainerState]) -> NBContainersError:
    place = _place(one)
    match error.errno:
        case errno.EADDRINUSE:
            return Conflict(
                f"port {place} is taken by {_holder(one, others)}", hint="publish on another, or on 0 for any free one"
            )
        case errno.EACCES | errno.EPERM:
            return HostError(
                f"port {place}: this user may not listen there",
                hint="take a port of 1024 or above (sysctl net.ipv4.ip_unprivileged_port_start says from where)",
            )
        case errno.EADDRNOTAVAIL:
            return NBContainersError(f"port {place}: this host does not have that address", hint="'ip addr' lists them")
        case _:
            return HostError(f"port {place}: {error.strerror}")


def _holder(one: Publication, others: Sequence[ContainerState]) -> str:
    """Who has a port, in words."""
    from ..runtime import forwarding

    for state in others:
        for _, number, _, protocol in state.ports:
            if one.first <= number <= one.last and protocol == one.protocol:
                return f"container {state.name}"
    inodes = set()
    for name in (one.protocol, f"{one.protocol}6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                row = line.split()
                listens = row[3] == "0A" or one.protocol == "udp"
                if listens and int(row[1].rpartition(":")[2], 16) == one.first:
                    inodes.add(f"socket:[{row[9]}]")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if inodes & set(_links(f"/proc/{pid}/fd")):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                what = "a container of another store" if name == forwarding.NAME else f"another program: {name}"
                return f"{what} (process {pid})"
    return "another program"


def _links(folder: str) -> Iterator[str]:
    """What the links in a folder of /proc say; one that is gone meanwhile, as that of the listing itself, is passed over."""
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(f"{folder}/{name}")
