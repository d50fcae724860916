"""The way out of a holder's network namespace: a pair of interfaces and address translation for root, else pasta or slirp4netns.

Imports only what keeps a holder small.
"""

from __future__ import annotations

import os
import time

from ..linux import firewall, network, nftables, syscalls
from ..linux.network import Links

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

INTERFACE = "up0"
# 169.254.192.0/18 in pieces of four addresses, one for each holder: link-local, so no network of anybody's, and without
# 169.254.169.254, where clouds tell about a machine.
_FIRST, _PIECES = 0xA9FEC000, 4096
_PREFIX6 = "fd6e:6263"
_PATIENCE_S = 5.0


class Uplink:
    """How a holder's networks reach the world: ``how`` says by what, or ``why_not``; ``host`` is this host's address from inside."""

    def __init__(self) -> None:
        self.how = ""
        self.why_not = ""
        self.host = ""
        self.pairs: dict[int, tuple[str, str]] = {}
        """By family (4, 6): the address of a host that reaches containers at theirs, and ours, by which it does."""
        self.side: HostSide | None = None  # with sockets whose closing takes the host's side away

    def lead_to(self, network: str, prefix: int) -> bool:
        """Have the host reach those on a network at their addresses, and return whether that is so (see ``HostSide.lead_to``)."""
        family = 6 if ":" in network else 4
        if not self.how or self.side is None or family not in self.pairs:
            return False
        return self.side.lead_to(network, prefix, self.pairs[family][1])

    def lead_no_more_to(self, network: str, prefix: int) -> None:
        """Take that back."""
        if self.side is not None:
            self.side.lead_no_more_to(network, prefix)


class HostSide:
    """What root prepares in the host's network before it leaves that for a namespace of the holder's own."""

    def __init__(self, tag: str) -> None:
        self.name = f"nbc-{tag}"
        self._index = 0
        self._dropper = firewall.drops_forwarded()
        self._links = Links()
        self._forwards6 = _parameter("ipv6/conf/all/forwarding") == "1"
        self._routers = _default_interfaces()
        # A rule for all pieces: whichever of them the pair of interfaces gets.
        self._table = _table(f"nbc-{tag}")
        try:
            self._table.add(
                "postrouting",
                [*nftables.source("169.254.192.0", 18), *nftables.goes_to("nbc-*", is_it=False), nftables.masquerade()],
                [*nftables.source(f"{_PREFIX6}::", 32), *nftables.goes_to("nbc-*", is_it=False), nftables.masquerade()],
            )
        except BaseException:
            self._table.close()
            raise
        self._guards = self._guard()

    def _guard(self) -> bool:
        """Let only the host itself begin something with containers: that it has a route to them is nothing for whom it routes for.

        Those are the containers of other stores, and its neighbours, who need but send it what is for a container.
        """
        try:
            self._table.add(
                "forward", [*nftables.goes_to(self.name), *nftables.continues(is_it=False), nftables.drop()]
            )
        except OSError:  # the kernel does not tell (CONFIG_NFT_CT)
            return False
        return True

    def connect(self, links: Links, own: int, uplink: Uplink, host: int) -> None:
        """Join the holder's namespace ``own``, in which ``links`` are, with the host's, ``host``."""
        self._links.remove(self.name)
        self._links.add_veth(self.name, INTERFACE, own)
        index = self._index = self._links.index(self.name)
        base = _FIRST + 4 * (index % _PIECES)
        outside, inside = (".".join(str(base + offset >> shift & 255) for shift in (24, 16, 8, 0)) for offset in (1, 2))
        self._links.add_address(index, outside, 30)
        network.within(host, own, self._forward)
        near = links.index(INTERFACE)
        links.add_address(near, inside, 30)
        links.set_up(near)
        links.add_route(near, outside)
        uplink.how, uplink.host = "address translation by this host's kernel", outside
        if self._guards:
            uplink.pairs[4] = outside, inside
        if self._dropper:
            uplink.why_not = dropped(self._dropper)
        if self._forwards6:
            piece = f"{_PREFIX6}:{index >> 16:x}:{index & 0xFFFF:x}"
            self._links.add_address(index, f"{piece}::1", 64)
            links.add_address(near, f"{piece}::2", 64)
            links.add_route(near, f"{piece}::1")
            if self._guards:
                uplink.pairs[6] = f"{piece}::1", f"{piece}::2"
        uplink.side = self

    def lead_to(self, network: str, prefix: int, gateway: str) -> bool:
        """Have the host send what is for a network by ``gateway``, our end of the pair; whether it does.

        Not where it sends that elsewhere already, by any route but a default one: what was reached there is to stay so, be it somebody's
        network or, for its range may be the same, that of another store, which was here first. The one that comes second is without
        a route until its bridge is made anew; all else works on it. A route to a part of the range goes before ours without our doing.
        """
        if self._links.has_route(network):
            return False
        try:
            self._links.add_route(self._index, gateway, network, prefix)
        except OSError:  # somebody was quicker
            return False
        return True

    def lead_no_more_to(self, network: str, prefix: int) -> None:
        """Take the host's route to a network away."""
        self._links.remove_route(self._index, network, prefix)

    def _forward(self) -> None:
        """Let the host pass packets on, where it does not yet: only between us and where its default routes lead."""
        if _parameter("ipv4/ip_forward") == "1":
            return
        for name in (self.name, *self._routers):
            network.set_parameter(f"ipv4/conf/{name}/forwarding", "1")

    def close(self) -> None:
        """Leave nothing."""
        self._table.close()
        self._links.close()


def dropped(dropper: str) -> str:
    """What it means that a policy of the host's drops what is passed on, and what can be done."""
    return (
        f"this host drops what it is to pass on ({dropper}) and has no rule for our interfaces; "
        "'iptables -I FORWARD -i nbc-+ -j ACCEPT' and the same with -o let it through"
    )


def _table(name: str) -> nftables.Table:
    """A table of our own; that of a holder that has just ended may be there for a moment."""
    deadline = time.monotonic() + 1
    while True:
        try:
            return nftables.Table(name, [("postrouting", "nat"), ("forward", "filter")])
        except FileExistsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Helper:
    """A process that stays outside of the holder's namespaces, to become pasta or slirp4netns once they are made."""

    def __init__(self, name: str, path: str, userns: bool) -> None:
        self.name = name
        wait, self._go = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                os.close(self._go)
                for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_DFL)  # pasta takes an ignored SIGPIPE for an error
                if os.read(wait, 1):
                    os.execv(path, command(name, parent, userns))
            finally:
                os._exit(1)
        os.close(wait)

    def connect(self, links: Links, uplink: Uplink) -> None:
        """Start the program and wait for the interface that it makes."""
        os.write(self._go, b"g")
        os.close(self._go)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                uplink.why_not = f"{self.name} ended at once: may this user open /dev/net/tun?"
                return
            if links.has_default_route(INTERFACE):
                uplink.how = self.name
                return
            time.sleep(0.005)
        os.kill(self.pid, signal.SIGKILL)
        uplink.why_not = f"{self.name} made no interface within {_PATIENCE_S:.0f} seconds"

    def dismiss(self) -> None:
        """It is not needed."""
        os.close(self._go)


def command(name: str, holder: int, userns: bool) -> list[str]:
    """The words that make pasta or slirp4netns serve a holder's namespace; the host's own loopback stays out of reach."""
    user, net = f"/proc/{holder}/ns/user", f"/proc/{holder}/ns/net"
    if name == "pasta":
        closed = ["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"]
        spaces = ["--netns", net, *(["--userns", user] if userns else ["--netns-only"])]
        stays = [] if os.geteuid() else ["--runas", "0"]  # root would else become nobody, who may enter no namespace
        return [name, "--foreground", "--quiet", "--config-net", "-I", INTERFACE, *closed, *spaces, *stays]
    spaces = [f"--userns-path={user}"] if userns else []
    return [name, "--configure", "--mtu=1500", "--disable-host-loopback", *spaces, str(holder), INTERFACE]


def _parameter(path: str) -> str:
    try:
        with open(f"/proc/sys/net/{path}") as file:
            return file.read().strip()
    except OSError:
        return ""


def _default_interfaces() -> list[str]:
    """Where the host's default routes lead; see proc_net(5), route."""
    with open("/proc/net/route") as file:
        rows = [line.split() for line in file]
    return sorted({row[0] for row in rows[1:] if row[1] == "00000000" and row[7] == "00000000"})
