"""The three files by which a program knows names: hosts, hostname and resolv.conf, a container's own, bound over its image's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..linux import smallfiles
from ..oci.runtime import Mount
from . import dns

_LOOPBACK = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
NAMES = ("hosts", "hostname", "resolv.conf")
NetworkKind = Literal["none", "host", "bridge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a user wants known beside what the network says: hosts as (name, address), and lines of resolv.conf by their kind.

    ``domain`` is that of the container's own name.
    """

    hosts: tuple[tuple[str, str], ...] = ()
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    domain: str = ""


def write(folder: Path, hostname: str, network: NetworkKind, names: Names | None = None) -> None:
    """Write a container's files into its folder; see ``mounts``.

    With the host's network the container asks the host's name servers and knows the host's names; without one it knows itself; on
    networks of ours it asks their holder.
    """
    names = names or Names()
    smallfiles.write(f"{folder}/hosts", _hosts(hostname, network, ("127.0.0.1",), names).encode())
    smallfiles.write(f"{folder}/hostname", f"{hostname or os.uname().nodename}\n".encode())
    smallfiles.write(f"{folder}/resolv.conf", _resolv(network, names).encode())


def mounts(folder: Path, *, read_only: bool = False) -> tuple[Mount, ...]:
    """The mounts that show the files of a folder: the container's own, or those of one whose network it shares."""
    return tuple(
        Mount(
            destination=f"/etc/{name}",
            type="bind",
            source=f"{folder}/{name}",
            options=("rbind", "rprivate", "ro" if read_only else "rw"),
        )
        for name in NAMES
    )


def update_hosts(folder: Path, hostname: str, addresses: Sequence[str], names: Names) -> None:
    """Say in a container's hosts file what its addresses are now; the file stays the one that is bound."""
    _overwrite(folder / "hosts", _hosts(hostname, "bridge", addresses or ("127.0.0.1",), names))


def add_host(folder: Path, hostname: str, address: str, names: Names) -> None:
    """Say that a container has one more address."""
    with (folder / "hosts").open("a") as file:
        file.write(_own(address, hostname, names))


def _own(address: str, hostname: str, names: Names) -> str:
    """The line of hosts for the container itself: its whole name, then the first part of that, as programs expect it."""
    whole = f"{hostname}.{names.domain}" if names.domain else hostname
    first = whole.partition(".")[0]
    return f"{address}\t{whole if first == whole else f'{whole} {first}'}\n"


def _overwrite(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.truncate()


def _hosts(hostname: str, network: NetworkKind, addresses: Sequence[str], names: Names) -> str:
    text = _LOOPBACK
    if network == "host":
        with contextlib.suppress(OSError, UnicodeError):
            text = Path("/etc/hosts").read_text()
    extra = [f"{address}\t{name}\n" for name, address in names.hosts]
    # Without a name of its own it has the host's, which that file knows.
    own = [_own(address, hostname, names) for address in addresses if hostname]
    return f"{text.rstrip()}\n" + "".join([*extra, *own])


def _resolv(network: NetworkKind, names: Names) -> str:
    """The container's resolv.conf: the host's own words, unless the user has others. Source: resolv.conf(5)."""
    host = ""
    if network != "none":
        with contextlib.suppress(OSError, UnicodeError):
            host = Path("/etc/resolv.conf").read_text()
    if network == "host" and names == Names(hosts=names.hosts, domain=names.domain):
        return host
    rows = [line.split() for line in host.splitlines()]
    servers = {"none": (), "host": [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]}
    chosen = [dns.ADDRESS] if network == "bridge" else names.servers or servers[network]
    search: Sequence[str] = names.search
    if not search:
        search = next((row[1:] for row in rows if row and row[0] in {"search", "domain"}), ())
    options = [*filter(None, names.options)]
    if network == "bridge" and not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")  # the name of a container is whole
    lines = [f"nameserver {server}" for server in chosen]
    if search and list(search) != ["."]:
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)
