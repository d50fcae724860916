"""The ground of a holder: the namespaces that its networks lie in, their packet filter, and their way out.

Imports only what keeps a holder small.
"""

from __future__ import annotations

import _socket
import marshal
import os

from ..linux import network, nftables, syscalls
from ..linux.network import Links
from .uplink import INTERFACE, Helper, HostSide, Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ground:
    """The network namespace of this process, made with it; for an ordinary user also the user namespace that owns it."""

    def __init__(self, settings: dict[str, Any], begin: _socket.socket) -> None:
        self.settings = settings
        self.uplink = Uplink()
        host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        side = self._prepare_way_out()
        userns = syscalls.CLONE_NEWUSER if settings["userns"] else 0
        syscalls.unshare(syscalls.CLONE_NEWNET | userns)
        if userns:  # our engine writes the maps
            begin.send(marshal.dumps(("unshared", os.getpid())))
            begin.recv(16)
        self.userns = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC) if userns else -1
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.links = Links()
        self.links.set_up(self.links.index("lo"))
        self.table: nftables.Table | None = None
        try:
            self.table = nftables.Table("nbc", [("forward", "filter"), ("prerouting", "nat"), ("postrouting", "nat")])
        except OSError as error:
            self.uplink.why_not = f"the kernel has no packet filter for us (nf_tables): {error.strerror}"
        if side is not None:
            self._connect(side, host)
        os.close(host)
        if not self.uplink.how:
            self._stop_forwarding()

    def _prepare_way_out(self) -> HostSide | Helper | None:
        """What has to be made in the host's network."""
        name, path = self.settings["uplink"]
        try:
            if name == "kernel":
                return HostSide(self.settings["tag"])
            if name:
                return Helper(name, path, self.settings["userns"])
            self.uplink.why_not = path
        except OSError as error:
            self.uplink.why_not = f"the host's network refused a way out: {error.strerror}"
        return None

    def _connect(self, side: HostSide | Helper, host: int) -> None:
        """Join our namespace to the host's, and pass packets on; without a packet filter there is no way out."""
        try:
            if self.table is None:
                side.close() if isinstance(side, HostSide) else side.dismiss()
                return
            if isinstance(side, HostSide):
                side.connect(self.links, self.own, self.uplink, host)
            else:
                side.connect(self.links, self.uplink)
            if self.uplink.how:
                self.table.add(
                    "postrouting", [*nftables.goes_to(INTERFACE), nftables.masquerade()], *self._as_gateway()
                )
                network.set_parameter("ipv4/ip_forward", "1")
                if os.path.exists("/proc/sys/net/ipv6"):
                    network.set_parameter("ipv6/conf/all/forwarding", "1")
        except OSError as error:
            self.uplink.how, self.uplink.why_not = "", f"no way out could be made: {error}"

    def _as_gateway(self) -> list[list[nftables.Expression]]:
        """The host comes to a container from its network's gateway, as in Docker: an internal network knows no way to another address.

        By the interface it is told from who comes to a published port (``sources``), whose packets are made here.
        """
        return [
            [
                *nftables.comes_from(INTERFACE),
                *nftables.source(host, 128 if family == 6 else 32),
                *nftables.goes_to("n*"),
                nftables.masquerade(),
            ]
            for family, (host, _) in self.uplink.pairs.items()
        ]

    def _stop_forwarding(self) -> None:
        """Without a way out nothing is to be passed on, which a new namespace may do because the host does (devconf_inherit_init_net)."""
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            try:
                network.set_parameter(path, "0")
            except FileNotFoundError:
                pass
            except OSError:
                if self.table is None:  # whose rules would keep networks apart
                    raise
