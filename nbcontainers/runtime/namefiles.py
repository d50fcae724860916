"""The three files by which a program knows names: hosts, hostname and resolv.conf, a container's own, bound over its image's."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Literal

from ..oci.runtime import Mount

_LOOPBACK = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def write(
    folder: Path, hostname: str, network: Literal["none", "host"], *, read_only: bool = False
) -> tuple[Mount, ...]:
    """Write a container's files into its folder and return the mounts that show them.

    With the host's network the container asks the host's name servers and knows the host's names; without one it knows itself.
    """
    hosts = _LOOPBACK
    if network == "host":
        with contextlib.suppress(OSError, UnicodeError):
            hosts = Path("/etc/hosts").read_text()
    (folder / "hosts").write_text(f"{hosts.rstrip()}\n127.0.0.1\t{hostname}\n")
    (folder / "hostname").write_text(f"{hostname}\n")
    (folder / "resolv.conf").touch()
    if network == "host":
        with contextlib.suppress(OSError):
            shutil.copyfile("/etc/resolv.conf", folder / "resolv.conf")
    return tuple(
        Mount(
            destination=f"/etc/{name}",
            type="bind",
            source=str(folder / name),
            options=("rbind", "rprivate", "ro" if read_only else "rw"),
        )
        for name in ("hosts", "hostname", "resolv.conf")
    )
