"""The process that holds a store's networks: a network namespace (and, for an ordinary user, the user namespace that owns it).

In it lie a bridge for each network and the near ends of the containers' interfaces. It answers their questions for names, and
forks a process for each container whose ports are published. One for each user and store, started by the first container that
wants a network; it ends a few seconds after the last, and with it the kernel takes everything away that it made.

It is told what to do by messages on a Unix socket, marshalled tuples each answered by one: an engine reserves a container's
places, then hands the connection to the container's shim, which attaches the container each time that it starts; when the
connection ends, so do its places. Imports only what keeps it small.
"""

from __future__ import annotations

import _socket
import fcntl
import functools
import gc
import marshal
import os
import resource
import select

from ..linux import network, nftables, rights, syscalls
from . import dns, forwarding, sources
from .bridges import Bridge, Endpoint, Refused
from .ground import Ground
from .poller import Poller
from .resident import Resident
from .sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn

    from .bridges import Wanted
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_IDLE_S = 5.0
_LATER_S = 0.5
_ROOM = 1 << 18


def main() -> NoReturn:
    """Hold networks as the message on descriptor 0 says; never returns."""
    if os.fork():  # nobody's child, so that no engine that outlives it has to wait for it
        os._exit(0)
    begin = _socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    syscalls.close_range(begin.fileno() + 1)
    os.set_inheritable(begin.fileno(), False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    # A connection to a published port takes six files: as many as this user may have, not as a shell begins with.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    syscalls.set_name("nbc-networks")
    holder = None
    try:
        holder = Holder(marshal.loads(begin.recv(_ROOM)), begin)  # noqa: S302 - from our own engine
        begin.send(marshal.dumps(("ready",)))
    except BaseException as error:
        begin.send(marshal.dumps(("failed", f"{type(error).__name__}: {error}")))
        os._exit(1)
    begin.close()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps those that carry
    gc.collect()
    gc.freeze()  # else each collection in a fork would copy every page
    try:
        holder.run()
    finally:
        os._exit(1)


class _Started(Refused):
    """Somebody else starts the same container."""


class Holder:
    """The networks and those on them."""

    def __init__(self, settings: dict[str, Any], begin: _socket.socket) -> None:
        self.poller = Poller()
        self.resolver = dns.Resolver(self.poller)
        self.bridges: dict[str, Bridge] = {}
        self.containers: dict[int, Resident] = {}  # by the descriptor of the connection
        self.connections: dict[int, _socket.socket] = {}
        self.numbers = iter(range(1, 1 << 62))
        self.settings = settings
        self.ground = Ground(settings, begin)
        self.sources: nftables.Table | None = None
        self.listener = self._listen(settings["socket"])
        self.idle: object = None  # the timer of the end
        self.hurries = False

    def _listen(self, path: str) -> _socket.socket:
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        os.umask(0o177)
        try:
            os.unlink(path)  # of a holder that was killed
        except OSError:
            pass
        listener.bind(path)
        listener.listen(256)
        listener.setblocking(False)
        self.poller.watch(listener.fileno(), select.POLLIN, lambda events: self._accept())
        return listener

    def run(self) -> None:
        """Serve until nobody has been here for a while."""
        self._rest()
        while True:
            self.poller.turn()

    def _rest(self) -> None:
        """Nobody is here: wait a while for somebody."""
        self.idle = self.poller.after(_IDLE_S if not self.hurries else 0, self._end)

    def _end(self) -> None:
        """End, unless somebody has just come: engines connect under the same lock, so nobody is left with a closed door."""
        try:
            lock = os.open(self.settings["lock"], os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # with its store: nobody will come
            os.unlink(self.settings["socket"])
            os._exit(0)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            self._rest()
            return
        poll = select.poll()
        poll.register(self.listener.fileno(), select.POLLIN)
        if poll.poll(0):
            os.close(lock)
            self._rest()
            return
        os.unlink(self.settings["socket"])
        os._exit(0)

    def _accept(self) -> None:
        try:
            descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        self.poller.cancel(self.idle)
        connection = _socket.socket(fileno=descriptor)
        self.connections[descriptor] = connection
        about = {
            "how": self.ground.uplink.how,
            "why_not": self.ground.uplink.why_not,
            "host": self.ground.uplink.host,
            "pid": os.getpid(),
        }
        given = [self.ground.userns] if self.ground.userns >= 0 else []
        try:
            connection.sendmsg([marshal.dumps(about)], rights.along(*given))
        except OSError:
            self._leave(descriptor)
            return
        self.poller.watch(descriptor, select.POLLIN, lambda events: self._serve(descriptor))

    def _serve(self, descriptor: int) -> None:
        """Take one message and answer it."""
        connection = self.connections[descriptor]
        try:
            data, received = rights.receive(descriptor, _ROOM, rights.MOST)
        except OSError:
            data, received = b"", []
        if not data:
            self._leave(descriptor)
            return
        answer: tuple[Any, ...]
        try:
            word, *rest = marshal.loads(data)  # noqa: S302 - from our own engines and shims: the socket is ours alone
            answer = ("done", getattr(self, f"_do_{word}")(descriptor, received, *rest))
        except Refused as refused:
            answer = ("started" if isinstance(refused, _Started) else "refused", str(refused))
        except Exception as error:
            answer = ("refused", f"{type(error).__name__}: {error}")
        finally:
            for one in received:
                os.close(one)
        try:
            connection.send(marshal.dumps(answer), _socket.MSG_NOSIGNAL)
        except OSError:
            pass

    # -- what can be asked for: each method is a word of a message -----------------------------------------------------

    def _do_reserve(
        self,
        descriptor: int,
        received: list[int],
        identifier: str,
        names: list[str],
        wanted: list[Wanted],
        servers: list[str],
        ports: list[tuple[str, int]],
    ) -> list[dict[str, object]]:
        """Give a container its places on networks, and publish its ports by the sockets that came along."""
        if any(one.id == identifier for one in self.containers.values()):
            raise _Started("the container is being started already")
        container = Resident(identifier, names, servers)
        try:
            for one in wanted:
                container.endpoints.append(self._bridge(one).join(identifier, names, one))
        except BaseException:
            self._free(container)
            raise
        self.containers[descriptor] = container
        container.update()
        container.listening, container.ports = [os.dup(one) for one in received], ports
        self._carry(container)
        return [endpoint.describe() for endpoint in container.endpoints]

    def _do_attach(self, descriptor: int, received: list[int]) -> None:
        """Plug a container that has its places into its networks; its namespace came along."""
        container = self.containers[descriptor]
        self._unplug(container)
        container.namespace = os.dup(received[0])
        for number, endpoint in enumerate(container.endpoints):
            self._plug(container, endpoint, f"eth{number}")
        network.within(
            container.namespace, self.ground.own, lambda: container.settle(container.endpoints, self.resolver)
        )

    def _do_connect(self, descriptor: int, received: list[int], identifier: str, wanted: Wanted) -> dict[str, object]:
        """Give a running container a place on one more network."""
        container = self._container(identifier)
        if any(e.bridge.definition["id"] == wanted["network"]["id"] for e in container.endpoints):
            raise Refused(f"the container is on network {wanted['network']['name']} already")
        endpoint = self._bridge(wanted).join(identifier, container.names, wanted)
        used = {one.interface for one in container.endpoints}
        try:
            if container.namespace >= 0:
                name = next(name for number in range(1 << 16) if (name := f"eth{number}") not in used)
                self._plug(container, endpoint, name)
                network.within(
                    container.namespace, self.ground.own, lambda: container.settle([endpoint], self.resolver)
                )
        except BaseException:
            endpoint.bridge.leave(endpoint)
            raise
        container.endpoints.append(endpoint)
        container.update()
        self._carry(container)
        return endpoint.describe()

    def _do_disconnect(self, descriptor: int, received: list[int], identifier: str, network_id: str) -> None:
        """Take a running container's place on a network away."""
        container = self._container(identifier)
        for endpoint in container.endpoints:
            if endpoint.bridge.definition["id"] == network_id:
                if endpoint.interface and container.namespace >= 0:
                    network.within(
                        container.namespace, self.ground.own, functools.partial(container.withdraw, endpoint)
                    )
                endpoint.bridge.leave(endpoint)
                container.endpoints.remove(endpoint)
                container.update()
                self._carry(container)
                return
        raise Refused("the container is not on that network")

    def _do_rename(self, descriptor: int, received: list[int], identifier: str, old: str, new: str) -> None:
        """Call a container something else."""
        container = self._container(identifier)
        for names in (container.names, *(endpoint.names for endpoint in container.endpoints)):
            names[:] = [new if name == old else name for name in names]

    def _do_list(self, descriptor: int, received: list[int]) -> list[dict[str, object]]:
        """Every place that a container has."""
        return [e.describe() for container in self.containers.values() for e in container.endpoints]

    def _do_forget(self, descriptor: int, received: list[int], network_id: str) -> None:
        """Take a network's bridge away, if it is there and nobody is on it."""
        bridge = self.bridges.get(network_id)
        if bridge is not None and not bridge.endpoints:
            bridge.remove(self.ground.links, self.ground.uplink)
            del self.bridges[network_id]

    def _do_hurry(self, descriptor: int, received: list[int]) -> None:
        """End as soon as nobody is here."""
        self.hurries = True

    # -- how it is done ------------------------------------------------------------------------------------------------

    def _bridge(self, wanted: Wanted) -> Bridge:
        definition = wanted["network"]
        known = self.bridges.get(definition["id"])
        if known is None:
            for other in [one for one in self.bridges.values() if not one.endpoints]:  # of networks that may be no more
                self._do_forget(-1, [], other.definition["id"])
            known = self.bridges[definition["id"]] = Bridge(
                definition, self.ground.links, self.ground.table, self.ground.uplink
            )
        return known

    def _plug(self, container: Resident, endpoint: Endpoint, interface: str) -> None:
        ours = f"v{next(self.numbers)}"
        mac = bytes.fromhex(endpoint.mac.replace(":", ""))
        mtu = endpoint.bridge.definition["mtu"]
        self.ground.links.add_veth(ours, interface, container.namespace, master=endpoint.bridge.index, mac=mac, mtu=mtu)
        container.interfaces.append(ours)
        endpoint.interface = interface

    def _unplug(self, container: Resident) -> None:
        """What a container that has ended, or is started anew, leaves."""
        self.resolver.leave(container.guest, *container.dns)
        container.dns = []
        if container.diversion is not None:
            container.diversion.close()
            container.diversion = None
        if container.interfaces:
            # The kernel removes them with the container's namespace, and we need not wait for it (10 ms and more); only where
            # somebody else shares the namespace they are still there a moment later.
            self.poller.after(_LATER_S, functools.partial(self._remove, container.interfaces))
        container.interfaces = []
        if container.namespace >= 0:
            os.close(container.namespace)
            container.namespace = -1

    def _remove(self, interfaces: list[str]) -> None:
        for name in interfaces:
            self.ground.links.remove(name)

    def _carry(self, container: Resident) -> None:
        """Fork the process that carries what comes to its published ports, to the first of its networks that is not internal."""
        ways = [e for e in container.endpoints if not e.bridge.definition["internal"]]
        targets = tuple(ways[0].addresses.values()) if ways else ()
        if targets == container.targets or not container.listening:
            return
        container.targets = targets
        if container.carrier is not None:
            forwarding.end(container.carrier)
            container.carrier = None
        if not targets:
            return
        near = [(one["network"], one["prefix"]) for b in self.bridges.values() for one in b.definition["subnets"]]
        kept = Sources(near) if self._keeps_sources() else None
        container.carrier = forwarding.begin(container.listening, container.ports, targets, kept)

    def _keeps_sources(self) -> bool:
        """Whether who comes to a published port can be seen inside by his own address."""
        if self.sources is None:
            try:
                self.sources = sources.keep(self.ground.links)
            except OSError:
                return False
        return True

    def _leave(self, descriptor: int) -> None:
        """A connection has ended, and with it what its container had; its shim waits for that (see ``Plug.leave``)."""
        self.poller.forget(descriptor)
        container = self.containers.pop(descriptor, None)
        if container is not None:
            self._unplug(container)
            self._free(container)
        self.connections.pop(descriptor).close()
        if not self.connections:
            self._rest()

    def _free(self, container: Resident) -> None:
        for endpoint in container.endpoints:
            endpoint.bridge.leave(endpoint)
        for one in container.listening:
            os.close(one)
        if container.carrier is not None:
            forwarding.end(container.carrier)

    def _container(self, identifier: str) -> Resident:
        for container in self.containers.values():
            if container.id == identifier:
                return container
        raise Refused("the container is on no network that is held here")
