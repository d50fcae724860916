"""Containers answer the host of root at their addresses, as in Docker; nobody else does it bring nearer to them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Container, Engine
from nbcontainers.linux.network import set_parameter
from nbcontainers.runtime import host as hosts
from tests.engine.networked import fetch, host_of_our_own, nothing_new, python, serving, settings, traces
from tests.machine import IS_ADMIN
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.skipif(
    not IS_ADMIN, reason="needs root with CAP_SYS_ADMIN: an ordinary user's networks are not joined to the host's"
)

ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 9000))
print("up", flush=True)
while True:
    data, peer = server.recvfrom(100)
    server.sendto(data.upper() + b" " + peer[0].encode(), peer)
"""
GET = "import urllib.request as u; print(u.urlopen('http://{}/', timeout=100).read().decode())"
CANNOT = """
import socket
for number in {numbers}:
    try:
        socket.create_connection(({address!r}, number), timeout=1)
        print("reached", number)
    except OSError:
        print("no")
"""


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    """A store on a host with IPv6 that passes packets on, and is afterwards as it was."""
    if not hosts.probe().allows("container networks"):
        pytest.skip("this host allows no networks between containers")
    with host_of_our_own():
        set_parameter("ipv4/ip_forward", "1")
        if os.path.exists("/proc/sys/net/ipv6"):
            set_parameter("ipv6/conf/all/forwarding", "1")
        before = traces()
        with Engine(module_path) as made:
            made.toolbox()
            yield made
            for container in made.containers(all=True):
                container.remove(force=True)
            made.prune_networks()
        until(lambda: nothing_new(before))


@contextlib.contextmanager
def on(engine: Engine, name: str, subnet: str, *, internal: bool = False) -> Iterator[Container]:
    """A container that tells its name on port 80, on a network of that range; both go."""
    engine.create_network(name, subnets=[subnet], internal=internal)
    container = serving(engine, f"on-{name}", network=name)
    try:
        yield container
    finally:
        container.remove(force=True)
        engine.remove_network(name)


@contextlib.contextmanager
def interface(name: str, address: str) -> Iterator[None]:
    """An interface of the host's, with a network of its own."""
    command("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-far")
    try:
        command("ip", "address", "add", address, "dev", name)
        for one in (name, f"{name}-far"):
            command("ip", "link", "set", one, "up")
        yield
    finally:
        command("ip", "link", "del", name)


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def routes() -> dict[str, str]:
    """The host's routes to networks of IPv4: the interface of each."""
    rows = [line.split() for line in command("ip", "-4", "route").splitlines()]
    return {row[0]: row[row.index("dev") + 1] for row in rows}


def address(container: Container, network: str, key: str = "IPAddress") -> str:
    return str(settings(container)["Networks"][network][key])


def refuses(target: str) -> bool:
    try:
        socket.create_connection((target, 80), timeout=1).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("internal", [False, True])
def test_a_container_answers_the_host(engine: Engine, internal: bool) -> None:
    """By TCP, UDP and ICMP, on a network with a way out and on an internal one; it sees the gateway, as in Docker."""
    with on(engine, "near", "172.30.1.0/24", internal=internal) as web:
        target = address(web, "near")
        assert fetch(f"http://{target}/") == "on-near 172.30.1.1"
        echo = engine.run("toolbox", "python3", "-c", ECHO, network="near", detach=True)
        until(lambda: any(b"up" in line.data for line in echo.logs()))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect((address(echo, "near"), 9000))
            client.send(b"hello")
            assert client.recv(100) == b"HELLO 172.30.1.1"
        assert answers_ping(target)
        # A port where nobody listens is told by an error about the packet, which comes back, too.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect((target, 9))
            client.send(b"hello")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)
        echo.remove(force=True)


def answers_ping(target: str) -> bool:
    """ICMP echo; see icmp(7) and RFC 792: the checksum of these eight bytes is what they lack to 0xFFFF."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
        client.settimeout(PATIENCE_S)
        number = 0x1234
        client.sendto(b"\x08\x00" + (0xFFFF - 0x0800 - number).to_bytes(2, "big") + b"\0\0\x12\x34", (target, 0))
        while True:
            packet, peer = client.recvfrom(100)
            if peer[0] == target and packet[20] == 0 and packet[26:28] == b"\x12\x34":
                return True


def test_a_container_answers_the_host_by_ipv6(engine: Engine) -> None:
    """Where the host passes IPv6 on, for only then networks have a way to it."""
    if not os.path.exists("/proc/sys/net/ipv6"):
        pytest.skip("needs a kernel with IPv6")
    for number, internal in ((1, False), (2, True)):
        engine.create_network("six", ipv6=True, subnets=[f"fd00:78:{number}::/64"], internal=internal)
        web = serving(engine, "sixth", network="six")
        target = address(web, "six", "GlobalIPv6Address")
        assert fetch(f"http://[{target}]/") == f"sixth fd00:78:{number}::1"
        web.remove(force=True)
        engine.remove_network("six")
        assert f"fd00:78:{number}::" not in command("ip", "-6", "route")


def test_an_internal_network_begins_nothing(engine: Engine) -> None:
    """That the host can begin something with it gives it no way to the host, though it gave itself a route there."""
    with on(engine, "inner", "172.30.2.0/24", internal=True) as web:
        assert fetch(f"http://{address(web, 'inner')}/") == "on-inner 172.30.2.1"
        host = next(row.split()[-1] for row in command("ip", "-4", "route").splitlines() if row.startswith("169.254."))
        with socket.create_server(("0.0.0.0", 0)) as server:
            number = server.getsockname()[1]
            socket.create_connection((host, number), timeout=PATIENCE_S).close()
            code = f"import os; assert os.system('ip route add default via 172.30.2.1') == 0{CANNOT}"
            tried = code.format(address=host, numbers=[number])
            assert python(engine, tried, network="inner", cap_add=["NET_ADMIN"]) == "no"
            assert "reached" in python(engine, CANNOT.format(address=host, numbers=[number]))  # from another it can


def test_a_route_goes_with_its_network(engine: Engine) -> None:
    """It is there once the first container is, not for each; it goes when the network is removed, and those of others stay."""
    with on(engine, "stays", "172.30.3.0/24") as stays:
        with on(engine, "goes", "172.30.4.0/24") as goes:
            assert {"172.30.3.0/24", "172.30.4.0/24"} <= set(routes())
            assert routes()["172.30.3.0/24"].startswith("nbc-")
            other = serving(engine, "other", network="goes")
            assert fetch(f"http://{address(other, 'goes')}/") == "other 172.30.4.1"
            other.remove(force=True)
            assert fetch(f"http://{address(goes, 'goes')}/") == "on-goes 172.30.4.1"
        assert "172.30.4.0/24" not in routes()
        assert fetch(f"http://{address(stays, 'stays')}/") == "on-stays 172.30.3.1"


def test_routes_go_with_the_holder(engine: Engine) -> None:
    """Also when it is killed: the kernel takes them away with the interface."""
    engine.create_network("held", subnets=["172.30.5.0/24"])
    container = serving(engine, "held", network="held")
    assert "172.30.5.0/24" in routes()
    with engine._runtime.networks(engine.store.root).connect() as connection:
        os.kill(int(connection.about["pid"]), signal.SIGKILL)
    until(lambda: "172.30.5.0/24" not in routes())
    container.remove(force=True)
    engine.remove_network("held")


def test_what_the_host_routes_elsewhere_stays_so(engine: Engine) -> None:
    """A wider range, the same one or a part of it: what was reached there still is, and what is published works all the same."""
    for theirs, range_ in (("10.77.5.1/16", "10.77.0.0/16"), ("10.77.7.200/24", "10.77.7.0/24")):
        with interface("their0", theirs), on(engine, "ours", "10.77.7.0/24") as web:
            assert routes()[range_] == "their0"
            assert not [one for one, device in routes().items() if device.startswith("nbc-") and one.startswith("10.")]
            assert "dev their0" in command("ip", "route", "get", address(web, "ours"))
            published = serving(engine, "published", network="ours", publish=["127.0.0.1::80"])
            assert fetch(f"http://127.0.0.1:{published.ports()[0][1]}/").startswith("published ")
            published.remove(force=True)
    with interface("their0", "10.77.128.1/24"), on(engine, "ours", "10.77.0.0/16") as web:
        assert fetch(f"http://{address(web, 'ours')}/") == "on-ours 10.77.0.1"
        assert "dev their0" in command("ip", "route", "get", "10.77.128.9")
    for kind in ("unreachable", "blackhole"):
        command("ip", "route", "add", kind, "10.77.0.0/16")
        with on(engine, "ours", "10.77.7.0/24") as web:
            assert refuses(address(web, "ours"))
        command("ip", "route", "del", kind, "10.77.0.0/16")


@pytest.fixture(scope="module")
def other(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Another store on the same host."""
    with Engine(tmp_path_factory.mktemp("other")) as made:
        made.toolbox()
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)
        made.prune_networks()


def test_the_second_of_two_stores_with_one_range_takes_nothing_from_the_first(engine: Engine, other: Engine) -> None:
    """The host still reaches the first one's; the second one's reach each other and are published."""
    with on(engine, "same", "172.30.6.0/24") as first:
        before = routes()["172.30.6.0/24"]
        with on(other, "same", "172.30.6.0/24") as second:
            target = address(first, "same")
            assert target == address(second, "same")
            assert fetch(f"http://{target}/") == "on-same 172.30.6.1"
            assert python(other, GET.format("on-same"), network="same").startswith("on-same ")
            published = serving(other, "published", network="same", publish=["127.0.0.1::80"])
            assert fetch(f"http://127.0.0.1:{published.ports()[0][1]}/").startswith("published ")
            published.remove(force=True)
        assert routes()["172.30.6.0/24"] == before
        assert fetch(f"http://{target}/") == "on-same 172.30.6.1"


def test_a_range_that_is_chosen_is_not_that_of_another_store(engine: Engine, tmp_path: Path) -> None:
    """So the host reaches both: their default networks, too."""
    one = serving(engine, "one")
    with Engine(tmp_path / "fresh") as fresh:
        fresh.toolbox()
        two = serving(fresh, "two")
        assert address(one, "bridge") != address(two, "bridge")
        for container, name in ((one, "one"), (two, "two")):
            assert fetch(f"http://{address(container, 'bridge')}/").startswith(f"{name} ")
            container.remove(force=True)
        fresh.prune_networks()


def test_the_hosts_routes_are_no_way_from_network_to_network(engine: Engine, other: Engine) -> None:
    """Not within a store, not from one store to another, though the host passes on what comes from either."""
    with (
        on(engine, "here", "172.30.7.0/24") as here,
        on(engine, "beside", "172.30.8.0/24") as beside,
        on(other, "there", "172.30.9.0/24") as there,
        on(other, "within", "172.30.10.0/24", internal=True) as within,
    ):
        targets = address(here, "here"), address(beside, "beside"), address(there, "there"), address(within, "within")
        for target in targets:
            assert fetch(f"http://{target}/")
        for store, network, reached in ((engine, "here", 0), (engine, "beside", 1), (other, "there", 2)):
            for number, target in enumerate(targets):
                found = python(store, CANNOT.format(address=target, numbers=[80]), network=network)
                assert found == ("reached 80" if number == reached else "no"), (network, target)


def test_neighbours_of_the_host_do_not_come_in_by_its_routes(engine: Engine) -> None:
    """A host that passes packets on gets one for a container from its neighbour, and drops it."""
    with on(engine, "in", "172.30.11.0/24") as web, neighbour() as at:
        target = address(web, "in")
        probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1)"
        with socket.create_server(("0.0.0.0", 0)) as server:
            number = server.getsockname()[1]
            # The way is there: the neighbour comes to the host by its address, and the host to the container.
            with subprocess.Popen([*at, "python3", "-c", probe, "198.18.0.1", str(number)]) as there:
                server.accept()[0].close()
            assert there.returncode == 0
        assert fetch(f"http://{target}/")
        done = subprocess.run([*at, "python3", "-c", probe, target, "80"], capture_output=True, text=True, check=False)
        assert "timed out" in done.stderr.splitlines()[-1], done


@contextlib.contextmanager
def neighbour() -> Iterator[list[str]]:
    """What starts a program on another machine of the host's network, which sends everything by the host."""
    holding = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    mine = os.readlink("/proc/self/ns/net")
    until(lambda: os.readlink(f"/proc/{holding.pid}/ns/net") != mine)
    at = ["nsenter", "--target", str(holding.pid), "--net"]
    try:
        command("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", str(holding.pid))
        command("ip", "address", "add", "198.18.0.1/24", "dev", "lan0")
        command("ip", "link", "set", "lan0", "up")
        command(*at, "ip", "address", "add", "198.18.0.2/24", "dev", "eth0")
        command(*at, "ip", "link", "set", "eth0", "up")
        command(*at, "ip", "route", "add", "default", "via", "198.18.0.1")
        yield at
    finally:
        command("ip", "link", "del", "lan0")
        holding.kill()
        holding.wait()
