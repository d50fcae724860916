"""Containers on networks, as a user of docker expects them: real bridges, real names, real ports, and a host left as it was."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Conflict, Engine, LaunchError, NBContainersError, NotFound
from nbcontainers.events import Event, Output
from nbcontainers.runtime import host as hosts
from tests.engine.networked import (
    GET,
    HOST,
    WORLD,
    fetch,
    host_of_our_own,
    nothing_new,
    python,
    said,
    serving,
    settings,
    traces,
)
from tests.machine import IS_ADMIN, free_port
from tests.waiting import PATIENCE_S, until

CANNOT = """
import socket
try:
    socket.create_connection(({!r}, {}), timeout=2)
except OSError as error:
    print("no")
"""
needs_root = pytest.mark.skipif(not IS_ADMIN, reason="needs root with CAP_SYS_ADMIN: a way out that can be tried")


Traces = tuple[list[str], set[str]]


@pytest.fixture(scope="module")
def pristine() -> Iterator[Traces]:
    """What there is on the tests' host (for root one of their own), which is afterwards as it was."""
    if not hosts.probe().allows("container networks"):
        pytest.skip("this host allows no networks between containers")
    with host_of_our_own():
        before = traces()
        yield before
        until(lambda: nothing_new(before))


@pytest.fixture(scope="module")
def engine(pristine: Traces, module_path: Path) -> Iterator[Engine]:
    with Engine(module_path) as made:
        made.toolbox()
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)
        made.prune_networks()


@pytest.fixture(scope="module")
def network(engine: Engine) -> str:
    engine.create_network("net", subnets=["172.30.0.0/24"], labels={"a": "b"})
    return "net"


@pytest.fixture(scope="module")
def servers(engine: Engine, network: str) -> tuple[int, int]:
    """Two servers on port 80, published on two free ports of this host."""
    one = serving(engine, "one", network=network, publish=["0:80", "80/udp"], network_alias=["first"])
    two = serving(engine, "two", network=network, publish=["127.0.0.1::80"], hostname="second")
    return one.ports()[0][1], two.ports()[0][1]


def test_addresses_that_are_kept_are_given_to_nobody(engine: Engine) -> None:
    """Neither unasked nor to who asks for one."""
    engine.create_network(
        "spare", subnets=["172.30.9.0/29"], reserved={"printer": "172.30.9.2", "router": "172.30.9.4"}
    )
    code = "import socket; print(socket.gethostbyname(socket.gethostname()))"
    first = engine.run("toolbox", "sleep", "600", network="spare", detach=True, init=False)
    second = python(engine, code, network="spare").strip()
    found = first.inspect()["NetworkSettings"]["Networks"]["spare"]["IPAddress"]
    assert (found, second) == ("172.30.9.3", "172.30.9.5")
    with pytest.raises(Conflict, match="kept for 'printer'"):
        engine.run("toolbox", "true", network="spare", ip="172.30.9.2")
    first.remove(force=True)


def test_containers_find_each_other_by_name(engine: Engine, servers: tuple[int, int]) -> None:
    """By name, alias, host name, short ID and ``name.network``; an address leads back to its name; case does not matter."""
    short = engine.container("one").id[:12]
    code = f"""
import socket
names = ["one", "first", "ONE.net", "{short}"]
print(len({{socket.gethostbyname(name) for name in names}}), socket.gethostbyname("one"))
print(socket.gethostbyname("second") == socket.gethostbyname("two"))
print(socket.gethostbyaddr(socket.gethostbyname("one"))[0])
print(open("/etc/resolv.conf").readline())
"""
    assert python(engine, code, network="net").split() == [
        "1", "172.30.0.2", "True", "one.net", "nameserver", "127.0.0.11",
    ]  # fmt: skip
    assert python(engine, GET.format("first/"), network="net").startswith("one 172.30.0.")


def test_a_container_may_be_a_name_server(engine: Engine, network: str) -> None:
    """Port 53 of every address is its own, by UDP and TCP, though names are asked for at 127.0.0.11; they still are answered."""
    code = "import socket; kept = [socket.socket(2, kind) for kind in (1, 2)]; [one.bind(('', 53)) for one in kept]; kept[0].listen(); "
    code += "print(socket.gethostbyname('server')); socket.create_connection(('127.0.0.11', 53)).close()"
    server = engine.run("toolbox", "sleep", "600", name="server", network=network, detach=True)
    container = engine.run("toolbox", "python3", "-c", code, network=network)
    said: list[bytes] = []
    assert container.attach(lambda event: said.append(getattr(event, "data", b""))) == 0, said
    address = server.inspect()["NetworkSettings"]["Networks"][network]["IPAddress"]
    assert b"".join(said).decode() == f"{address}\n"
    container.remove()
    server.remove(force=True)


def test_two_servers_on_one_port_are_published_on_two(engine: Engine, servers: tuple[int, int]) -> None:
    """Each published port leads to its container, over IPv4 and IPv6; who listens on one address is found there only."""
    first, second = servers
    assert fetch(f"http://127.0.0.1:{first}/") == "one 172.30.0.1"
    assert fetch(f"http://127.0.0.1:{second}/") == "two 172.30.0.1"
    assert fetch(f"http://[::1]:{first}/") == "one 172.30.0.1"
    with pytest.raises(OSError, match="refused"):
        fetch(f"http://[::1]:{second}/")
    assert settings(engine.container("two"))["Ports"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(second)}]}


def test_containers_are_found_by_their_ports(engine: Engine, servers: tuple[int, int]) -> None:
    """``publish=`` by ports of this host, ``expose=`` by those of the container: one, or a range, of TCP unless it says otherwise."""
    first, second = servers
    one, two = engine.container("one"), engine.container("two")
    port = next(number for _, number, _, protocol in one.ports() if protocol == "udp")

    def names(*filters: str) -> set[str]:
        return {container.name for container in engine.containers(*filters, all=True)} & {"one", "two", "told"}

    told = engine.create("toolbox", "true", name="told", network="none", expose=["80"])
    assert names(f"publish={first}") == names(f"publish={first}/tcp") == {"one"}
    assert names(f"publish={second}-{second}") == {"two"}
    assert names(f"publish={first}", f"publish={second}") == {"one", "two"}
    assert "one" in names(f"publish={port}/udp")
    assert names("expose=80") == names("expose=70-80/tcp") == {"one", "two"}
    assert names("expose=80/udp") == {"one"}
    assert names("expose=81-90") == set()
    assert names("expose=80/udp", f"publish={second}") == {one.name, two.name}
    told.remove()


def test_a_taken_port_says_who_has_it(engine: Engine, servers: tuple[int, int]) -> None:
    """A container of ours by its name, another program by its name and process; nothing is left of the one that was refused."""
    with pytest.raises(Conflict, match="is taken by container one"):
        engine.run("toolbox", "true", name="late", publish=[f"{servers[0]}:80"])
    with pytest.raises(NotFound):
        engine.container("late")
    with open(os.devnull) as before, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        before.close()  # whoever lists our descriptors gets one with a lower number than the socket's
        with pytest.raises(Conflict, match=rf"another program: \S+ \(process {os.getpid()}\)"):
            engine.run("toolbox", "true", publish=[f"127.0.0.1:{port}:80"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Conflict, match=f"port 127.0.0.1:{port}/tcp is published twice"):
        engine.run("toolbox", "true", publish=[f"127.0.0.1:{port}:80", f"127.0.0.1:{port}:81"])


def test_a_start_that_fails_for_a_port_says_so_in_the_state(engine: Engine, servers: tuple[int, int]) -> None:
    """As docker's does."""
    container = engine.create("toolbox", "true", publish=[f"{servers[0]}:80"])
    with pytest.raises(Conflict, match="is taken by"):
        container.start(detach=True)
    assert (container.state.status, container.state.exit_code) == ("created", 128)
    assert "is taken by" in container.state.error
    container.remove()


def test_a_range_of_the_host_gives_its_first_free_port(engine: Engine, servers: tuple[int, int]) -> None:
    """``8000-8010:80`` takes the first that is free, and all taken is a conflict."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = min(taken.getsockname()[1], 65000)
        container = engine.create("toolbox", "sleep", "600", publish=[f"127.0.0.1:{port}-{port + 30}:80"], rm=True)
        container.start(detach=True)
        assert port < container.ports()[0][1] <= port + 30
        container.remove(force=True)


def test_who_has_ended_has_given_everything_back(engine: Engine, network: str) -> None:
    """Address and ports of a container are free when its end is heard of: it starts again at once, and so does another in its place."""
    port = free_port()
    publish = [f"127.0.0.1:{port}:80", f"127.0.0.1:{port}:80/udp"]
    places = {"network": network, "ip": "172.30.0.77", "publish": publish}
    containers = [engine.create("toolbox", "true", **places) for _ in range(2)]
    for _ in range(10):
        for container in containers:
            container.start()
            assert container.attach() == 0
    for container in containers:
        container.remove()


def test_much_goes_through_a_published_port_whole(engine: Engine, network: str) -> None:
    """20 MB there and back, and an end of one direction is passed on while the other goes on."""
    code = """
import socket
server = socket.create_server(("", 9000))
print("up", flush=True)
peer, _ = server.accept()
data = b"".join(iter(lambda: peer.recv(1 << 16), b""))
peer.sendall(data[::-1])
peer.close()
while True:
    server.accept()  # what lies in its sockets goes with the container, as everywhere
"""
    container = engine.run("toolbox", "python3", "-c", code, network=network, publish=["127.0.0.1::9000"], detach=True)
    until(lambda: any(b"up" in line.data for line in container.logs()))
    sent = os.urandom(1 << 20) * 20
    with socket.create_connection(("127.0.0.1", container.ports()[0][1]), timeout=PATIENCE_S) as stream:
        sender = threading.Thread(target=lambda: (stream.sendall(sent), stream.shutdown(socket.SHUT_WR)))
        sender.start()
        received = b"".join(iter(lambda: stream.recv(1 << 16), b""))
        sender.join()
    assert received == sent[::-1]
    container.remove(force=True)


def test_udp_is_published_and_answers_come_back_to_each(engine: Engine, network: str) -> None:
    """Two who send to one published port of UDP get each his own answers."""
    code = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 9000))
print("up", flush=True)
while True:
    data, peer = server.recvfrom(2000)
    server.sendto(data.upper(), peer)
"""
    container = engine.run(
        "toolbox", "python3", "-c", code, network=network, publish=["127.0.0.1::9000/udp"], detach=True
    )
    until(lambda: any(b"up" in line.data for line in container.logs()))
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for number, client in enumerate(clients):
        client.settimeout(PATIENCE_S)
        client.sendto(b"hello %d" % number, ("127.0.0.1", container.ports()[0][1]))
    assert [client.recv(100) for client in clients] == [b"HELLO 0", b"HELLO 1"]
    for client in clients:
        client.close()
    container.remove(force=True)


def test_who_comes_to_a_published_port_is_seen_by_his_address(engine: Engine, network: str) -> None:
    """TCP and UDP; only who comes from this host's own loopback looks like the gateway, for nothing inside leads back there."""
    code = """
import socket, threading
udp, tcp = (socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
udp.bind(("", 9000)); tcp.bind(("", 9000)); tcp.listen()
def tell():
    while True:
        peer = udp.recvfrom(100)[1]
        udp.sendto(peer[0].encode(), peer)
threading.Thread(target=tell, daemon=True).start()
print("up", flush=True)
while True:
    client, peer = tcp.accept()
    client.sendall(peer[0].encode()); client.close()
"""
    ports = ["0.0.0.0::9000/udp", "0.0.0.0::9000"]
    container = engine.run("toolbox", "python3", "-c", code, network=network, publish=ports, detach=True)
    until(lambda: any(b"up" in line.data for line in container.logs()))
    published = {protocol: port for _, port, _, protocol in container.ports()}
    for address, seen in ((own_address(), own_address()), ("127.0.0.1", "172.30.0.1")):
        with socket.create_connection((address, published["tcp"]), timeout=PATIENCE_S) as client:
            assert client.recv(100).decode() == seen
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.sendto(b"?", (address, published["udp"]))
            assert client.recv(100).decode() == seen
    container.remove(force=True)


def own_address() -> str:
    """An address of this host that is not its loopback's: that by which it would reach the world."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anybody:
        try:
            anybody.connect((WORLD, 9))  # nothing is sent
        except OSError:
            pytest.skip("this host has no address but its loopback's")
        return str(anybody.getsockname()[0])


def test_all_exposed_ports_can_be_published(engine: Engine, tmp_path: Path) -> None:
    """``-P`` publishes what the image and ``--expose`` name, each on a free port."""
    engine.build("FROM toolbox\nEXPOSE 9/sctp\n", tag="exposing")
    container = engine.create("exposing", "true")  # that a port cannot be published is no reason not to run
    assert container.inspect()["Config"]["ExposedPorts"] == {"9/sctp": {}}
    container.remove()
    with pytest.raises(NBContainersError, match="cannot publish sctp"):
        engine.create("exposing", "true", publish_all=True)
    engine.build("FROM toolbox\nEXPOSE 80 53/udp\n", tag="exposing")
    container = engine.run("exposing", "sleep", "600", publish_all=True, expose=["81"], detach=True)
    assert {(port, protocol) for _, _, port, protocol in container.ports()} == {(80, "tcp"), (53, "udp"), (81, "tcp")}
    assert container.inspect()["HostConfig"]["PortBindings"] == {}  # as Docker: nobody named one
    container.remove(force=True)
    container = engine.run("exposing", "sleep", "600", publish=["80"], detach=True)
    ports = settings(container)["Ports"]
    assert (ports.keys(), ports["53/udp"]) == ({"80/tcp", "53/udp"}, None)
    container.remove(force=True)
    assert engine.remove_image("exposing", force=True)


def test_ports_that_nothing_comes_in_by_are_no_reason_not_to_run(engine: Engine) -> None:
    """Without a network, or on internal ones: it runs and says so, as Docker does not; on a further network they lead in anew."""

    def of_ports(sentences: tuple[str, ...]) -> list[str]:
        return [one for one in sentences if one.startswith("published ports: ")]

    without = engine.run("toolbox", "sleep", "600", network="none", publish=["80"], detach=True)
    (told,) = of_ports(without.state.not_enforced)
    assert "the container has no network" in told
    without.remove(force=True)
    engine.create_network("shut", internal=True)
    engine.create_network("open")
    number = free_port()
    with pytest.raises(NBContainersError, match="published ports: every network of the container is internal"):
        engine.create("toolbox", "true", network="shut", publish=["80"], strict=True)
    container = engine.create("toolbox", "sleep", "600", network="shut", publish=[f"{number}:80"])
    (told,) = of_ports(container.foreseen())
    container.start(detach=True)
    assert of_ports(container.state.not_enforced) == [told]
    assert container.ports() == ()
    with socket.socket() as free:
        free.bind(("127.0.0.1", number))
    (later,) = of_ports(container.connect("open"))
    assert "once somebody starts it anew" in later
    container.restart(timeout=0)
    assert of_ports(container.state.not_enforced) == of_ports(container.foreseen()) == []
    assert {found for _, found, _, _ in container.ports()} == {number}
    container.disconnect("open")
    container.restart(timeout=0)
    assert len(of_ports(container.state.not_enforced)) == 1
    container.remove(force=True)
    for name in ("shut", "open"):
        engine.remove_network(name)


def test_addresses_names_and_mac_can_be_fixed(engine: Engine, network: str, servers: tuple[int, int]) -> None:
    """``--ip``, ``--mac-address`` and the long form of ``--network`` hold; an address that is taken says by whom."""
    code = "print(open('/sys/class/net/eth0/address').read(), __import__('socket').gethostbyname('me'))"
    options = {"network": "name=net,alias=me,ip=172.30.0.77", "mac_address": "02:00:00:00:00:01"}
    assert python(engine, code, **options).split() == ["02:00:00:00:00:01", "172.30.0.77"]
    with pytest.raises(LaunchError, match=r"address 172\.30\.0\.2 on network net is taken by one"):
        engine.run("toolbox", "true", network=network, ip="172.30.0.2")
    with pytest.raises(NBContainersError, match="is not on network net"):
        engine.run("toolbox", "true", network=network, ip="10.1.1.1")
    for own in ("172.30.0.0", "172.30.0.255"):
        with pytest.raises(NBContainersError, match="is the network's own address"):
            engine.run("toolbox", "true", network=network, ip=own)


def test_a_running_container_changes_its_networks(engine: Engine, servers: tuple[int, int]) -> None:
    """``connect`` and ``disconnect`` hold at once and at the next start; ``inspect`` and the hosts file say so."""
    engine.create_network("second", internal=True)
    engine.container("one").connect(engine.network("second"), aliases=["uno"])
    assert python(engine, GET.format("uno/"), network="second").startswith("one ")
    address = settings(engine.container("one"))["Networks"]["second"]["IPAddress"]
    seen = engine.inspect_network("second")
    assert [one["IPv4Address"] for one in seen["Containers"].values()] == [f"{address}/16"]
    with pytest.raises(Conflict, match="has active endpoints: one"):
        engine.remove_network("second")
    with pytest.raises(Conflict, match="already"):
        engine.container("one").connect(engine.network("second"))
    engine.container("one").disconnect(engine.network("second"))
    code = "import socket\ntry: socket.gethostbyname('uno')\nexcept OSError: print('unknown')"
    assert python(engine, code, network="second") == "unknown"
    kept = engine.create(
        "toolbox", "python3", "-c", "print(open('/etc/hosts').read().count('keeper'))", hostname="keeper"
    )
    kept.connect(engine.network("second"))
    kept.start()
    assert said(kept) == "2"
    kept.remove()
    engine.remove_network("second")


def test_the_next_network_takes_over_from_the_first(engine: Engine) -> None:
    """Who is taken off the network by which his ports and his way out led has them by another, be it one of later."""
    for number in (1, 2):
        engine.create_network(f"way{number}", subnets=[f"172.30.4{number}.0/24", f"fd00:4{number}::/64"], ipv6=True)
    server = serving(engine, "moving", network="way1", publish=["0:80"])
    code = """
import socket
for family, far in ((socket.AF_INET, "198.51.100.9"), (socket.AF_INET6, "2001:db8::9")):
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.connect((far, 9))
    print(one.getsockname()[0])
"""

    def ways_out() -> list[str]:
        told: list[Event] = []
        server.exec("python3", "-c", code).attach(told.append)
        return b"".join(one.data for one in told if isinstance(one, Output)).decode().split()

    def answer() -> str:
        return fetch(f"http://127.0.0.1:{server.ports()[0][1]}/").split()[0]

    try:
        server.connect("way2")
        assert (ways_out(), answer()) == (["172.30.41.2", "fd00:41::2"], "moving")
        server.disconnect("way1")
        assert (ways_out(), answer()) == (["172.30.42.2", "fd00:42::2"], "moving")
        server.disconnect("way2")
        server.connect("way1")
        assert (ways_out(), answer()) == (["172.30.41.2", "fd00:41::2"], "moving")
    finally:
        server.remove(force=True)
        for number in (1, 2):
            engine.remove_network(f"way{number}")


def test_a_network_is_shared_with_another_container(engine: Engine, servers: tuple[int, int]) -> None:
    """``container:NAME`` sees the other's loopback and hosts file; what belongs to the other cannot be set."""
    code = GET.format("127.0.0.1/") + "; print(open('/etc/hosts').read().split()[-1])"
    assert python(engine, code, network="container:one").split() == [
        "one", "127.0.0.1", engine.container("one").id[:12],
    ]  # fmt: skip
    with pytest.raises(NBContainersError, match="published ports in another container's network"):
        engine.run("toolbox", "true", network="container:one", publish=["80"])
    with pytest.raises(NBContainersError, match="--hostname in another"):
        engine.run("toolbox", "true", network="container:one", hostname="x")
    with pytest.raises(NBContainersError, match="--expose in another"):
        engine.run("toolbox", "true", network="container:one", expose=["80"])
    with pytest.raises(NBContainersError, match="--publish-all in another"):
        engine.run("toolbox", "true", network="container:one", publish_all=True)


def test_a_read_only_sys_is_that_of_one_container(engine: Engine, servers: tuple[int, int]) -> None:
    """Whoever shares its network has a mount of his own of the same file system, and may write to it where he is ``privileged``."""
    code = (
        "print(*(line.split()[9].split(',')[0] for line in open('/proc/self/mountinfo') if line.split()[4] == '/sys'))"
    )
    assert python(engine, code.replace("9", "5"), network="container:one") == "ro"
    assert python(engine, code, network="container:one", privileged=True) == "rw"


def test_networks_are_apart(engine: Engine, servers: tuple[int, int]) -> None:
    """From one network no packet reaches another, whether or not there is a way out of both."""
    assert python(engine, CANNOT.format("172.30.0.2", 80)) == "no"
    assert python(engine, CANNOT.format("172.30.0.2", 80), network="none") == "no"


def test_ipv6_where_it_is_wanted(engine: Engine) -> None:
    """A network with IPv6 gives both kinds of address, and both are found by name."""
    engine.create_network("six", ipv6=True, subnets=["fd00:77::/64"])
    server = serving(engine, "sixth", network="six", ip6="fd00:77::6")
    code = GET.format("[fd00:77::6]/") + "; import socket; print(len(socket.getaddrinfo('sixth', 80, type=1)))"
    found = python(engine, code, network="six").split()
    assert (found[0], found[-1]) == ("sixth", "2")
    server.remove(force=True)
    engine.remove_network("six")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_leads_to_the_address_at_which_a_program_listens(engine: Engine, protocol: str) -> None:
    """Who comes by IPv6 reaches a program that listens there alone, from the network's gateway of IPv6, and one that does not know it."""
    engine.create_network("both", ipv6=True, subnets=["172.30.8.0/24", "fd00:78::/64"])
    code = """
import socket, sys
family, kind = (getattr(socket, word) for word in sys.argv[1:])
one = socket.socket(family, kind)
if family == socket.AF_INET6:
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
one.bind(("", 80))
if kind == socket.SOCK_STREAM:
    one.listen()
print("up", flush=True)
while True:
    if kind == socket.SOCK_STREAM:
        peer, address = one.accept()
        peer.sendall(address[0].encode())
        peer.close()
    else:
        _, address = one.recvfrom(100)
        one.sendto(address[0].encode(), address)
"""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    seen = {}
    for family in ("AF_INET6", "AF_INET"):
        command = ("python3", "-c", code, family, kind.name)
        server = engine.run("toolbox", *command, network="both", publish=[f"0:80/{protocol}"], detach=True)
        until(lambda server=server: any(b"up" in line.data for line in server.logs()))
        ports = {address: port for address, port, _, _ in server.ports()}
        with socket.socket(socket.AF_INET6, kind) as client:
            client.settimeout(PATIENCE_S)
            client.connect(("::1", ports.get("::") or next(iter(ports.values()))))
            if protocol == "udp":
                client.send(b"who")
            seen[family] = client.recv(100).decode()
        server.remove(force=True)
    assert seen == {"AF_INET6": "fd00:78::1", "AF_INET": "172.30.8.1"}
    engine.remove_network("both")


def test_many_at_once_get_each_an_address_of_its_own(engine: Engine, network: str) -> None:
    """Eight started by eight threads: eight addresses."""
    made = [engine.create("toolbox", "sleep", "600", network=network) for _ in range(8)]
    threads = [threading.Thread(target=container.start, kwargs={"detach": True}) for container in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    addresses = {settings(container)["Networks"]["net"]["IPAddress"] for container in made}
    assert len(addresses) == 8
    for container in made:
        container.remove(force=True)


def test_what_contradicts_itself_is_refused(engine: Engine, network: str) -> None:
    """Each with what was asked for; nothing is ignored."""
    for match, options in (
        ("a fixed address on the default network", {"network": "bridge", "ip": "172.17.0.5"}),
        ("a fixed address on the default network", {"network": "default", "ip6": "fd00::5"}),
        ("an alias on the default network", {"network": "bridge", "network_alias": ["here"]}),
        ("an alias on the default network", {"network": ["net", "name=bridge,alias=here"]}),
        ("--ip with the network 'host'", {"network": "host", "ip": "10.0.0.2"}),
        ("'host' beside another", {"network": ["net", "host"]}),
        ("one network twice", {"network": ["net", "net"]}),
        ("no such network: 'nett'", {"network": "nett"}),
        ("not a host: 'x'", {"add_host": ["x"]}),
        ("not the address of a name server", {"dns": ["one"]}),
        ("not a MAC address", {"network": "net", "mac_address": "03:00:00:00:00:01"}),
        ("not a MAC address", {"network": "net", "mac_address": "00:00:00:00:00:00"}),
        ("ranges of different lengths", {"publish": ["1000-1002:80-81"]}),
    ):
        with pytest.raises(NBContainersError, match=match):
            engine.create("toolbox", "true", **options)


def test_hosts_and_resolv_conf_say_what_was_asked(engine: Engine) -> None:
    """``--add-host``, ``--dns-search`` and ``--dns-option`` stand in the files; with the host's network ``--dns`` does, too."""
    code = "print(open('/etc/hosts').read(), open('/etc/resolv.conf').read())"
    options = {"add_host": ["db:10.9.8.7"], "dns_search": ["example.org"], "dns_option": ["timeout:3"]}
    text = python(engine, code, **options)
    for line in ("10.9.8.7\tdb", "search example.org", "options timeout:3", "nameserver 127.0.0.11"):
        assert line in text
    assert "options timeout:3 ndots:0" in text  # as Docker: unless it says how many dots a whole name has
    assert python(engine, code, dns_option=["ndots:2"]).endswith("options ndots:2")
    assert "nameserver 192.0.2.53" in python(engine, code, network="host", dns=["192.0.2.53"])


def test_a_container_knows_its_whole_name_and_its_link(engine: Engine, network: str) -> None:
    """The whole name comes first in hosts, as what asks for it wants, then its first part; the address has one for all beside it."""
    code = """
import fcntl, socket
def ask(what):
    return fcntl.ioctl(socket.socket(), what, b"eth0".ljust(40, b"\\0"))
print(socket.getfqdn("web"), ask(0x8927)[18:24].hex(":"), socket.inet_ntoa(ask(0x8919)[20:24]))  # SIOCGIFHWADDR, SIOCGIFBRDADDR
"""
    mac = "02-11-22-33-44-66"
    for names in ({"hostname": "web", "domainname": "example.org"}, {"hostname": "web.example.org"}):
        found = python(engine, code, network=network, mac_address=mac, **names).split()
        assert found[0] == "web.example.org", names
        assert found[2] == "172.30.0.255"
        assert found[1] == mac.replace("-", ":")


def test_without_a_network_nobody_holds_any(tmp_path: Path) -> None:
    """``none`` and ``host`` start no holder."""
    with Engine(tmp_path / "store") as engine:
        for network in ("none", "host"):
            python(engine, "", network=network)
        assert engine._runtime.networks(engine.store.root).look() is None


@needs_root
def test_the_world_sees_the_host_and_internal_networks_see_no_world(engine: Engine, network: str) -> None:
    """Who goes out does so with the host's address; from an internal network nobody does, nor asks the world for names."""
    assert python(engine, GET.format(WORLD)) == HOST
    assert python(engine, GET.format(WORLD), network=network) == HOST
    engine.create_network("inner", internal=True)
    assert python(engine, CANNOT.format(WORLD, 80), network="inner") == "no"
    code = "import socket\ntry: print(socket.gethostbyname('outside.example'))\nexcept OSError: print('unknown')"
    assert python(engine, code, dns=[WORLD]) == "192.0.2.7"
    assert python(engine, code, dns=[WORLD], network="inner") == "unknown"
    engine.remove_network("inner")


@needs_root
def test_the_host_can_be_reached_by_the_gateway(engine: Engine) -> None:
    """``--add-host NAME:host-gateway`` leads to programs of this host."""
    server = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8123, bind='0.0.0.0')",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/proc/self/ns",
    )
    try:
        until(lambda: fetch("http://127.0.0.1:8123/"))
        code = GET.format("here:8123/").replace(".read().decode()", ".status")
        assert python(engine, code, add_host=["here:host-gateway"]) == "200"
    finally:
        server.kill()
        server.wait()


def test_the_host_has_another_address_without_a_bridge(engine: Engine) -> None:
    """On the host's own network it is at the loopback; with no network it cannot be reached, and that is said."""
    with pytest.raises(NBContainersError, match="here:host-gateway without a network"):
        engine.create("toolbox", "true", network="none", add_host=["here:host-gateway"])
    container = engine.create("toolbox", "true", network="host", add_host=["here:host-gateway"])
    assert container.inspect()["HostConfig"]["ExtraHosts"] == ["here:127.0.0.1"]
    container.remove()


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_an_ordinary_user_hears_that_there_is_no_way_out(engine: Engine) -> None:
    """Where neither pasta nor slirp4netns can be used, the container says so, and what needs a way out is refused."""
    container = engine.create("toolbox", "true")
    container.start()
    container.wait()
    lacking = [line for line in container.state.lacks if line.startswith("no way out of its networks")]
    if not lacking:
        pytest.skip("this user has a way out")
    container.remove()
    with pytest.raises(NBContainersError, match="host-gateway: this host cannot be reached"):
        engine.run("toolbox", "true", add_host=["here:host-gateway"])
    with pytest.raises(NBContainersError, match="this user may not listen there"):
        engine.run("toolbox", "true", publish=["127.0.0.1:81:80"])


def test_the_end_of_the_holder_ends_those_on_its_networks(engine: Engine) -> None:
    """A container says why it ended, and the next one has networks again."""
    container = engine.run("toolbox", "sleep", "600")
    connection = engine._runtime.networks(engine.store.root).look()
    assert connection is not None
    os.kill(connection.about["pid"], signal.SIGKILL)
    connection.close()
    assert container.wait(PATIENCE_S) == 137
    assert container.state.error == "ended with the process that held its networks"
    container.remove()
    assert "eth0" in python(engine, "print(open('/proc/net/dev').read())")


def test_a_killed_engine_leaves_nothing(engine: Engine, pristine: Traces) -> None:
    """Ports, places and processes of an engine that was killed are gone, without anybody's help."""
    for container in engine.containers():
        container.remove(force=True)
    code = f"""
import time
from nbcontainers import Engine
engine = Engine({str(engine.store.root)!r})
container = engine.run("toolbox", "sleep", "600", publish=["127.0.0.1::80"])
print(container.ports()[0][1], flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        other.kill()
    until(lambda: not engine.containers())
    until(lambda: socket.create_server(("127.0.0.1", port)).close() is None)
    until(lambda: nothing_new(pristine))


@needs_root
def test_slirp4netns_is_a_way_out(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel's own is not to be had; it ends with the holder."""
    path = shutil.which("slirp4netns")
    if path is None:
        pytest.skip("slirp4netns is not installed")
    for container in engine.containers(all=True):
        container.remove(force=True)
    engine.prune_networks()
    networks = engine._runtime.networks(engine.store.root)
    until(lambda: not Path(networks._socket).exists())
    monkeypatch.setattr("nbcontainers.runtime.networks.way_out", lambda host: ("slirp4netns", path))
    assert python(engine, GET.format(WORLD)) == HOST
    with networks.connect() as connection:
        assert connection.about["how"] == "slirp4netns"
    engine.prune_networks()
    until(lambda: not Path(networks._socket).exists())
