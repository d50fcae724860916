"""The files of networks: what they say, what is chosen, what is refused."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.engine import networks
from nbcontainers.engine.networks import NetworkFiles
from nbcontainers.errors import Conflict, IntegrityError, NBContainersError, NotFound


@pytest.fixture
def files(tmp_path: Path) -> NetworkFiles:
    return NetworkFiles(tmp_path)


def test_what_is_made_is_found(files: NetworkFiles, tmp_path: Path) -> None:
    """By name, ID and the beginning of an ID, with all that it was made with; the built-in ones are always there."""
    made = files.create(
        "net", subnets=["10.5.0.0/16"], ip_ranges=["10.5.3.0/24"], gateways=["10.5.0.9"], labels={"a": "b"}
    )
    assert NetworkFiles(tmp_path).find("net") == files.find(made.id) == files.find(made.id[:6]) == made
    assert [network.name for network in files.all()] == ["bridge", "host", "net", "none"]
    subnet = networks.definition(made)["subnets"][0]
    assert (subnet["gateway"], subnet["first"], subnet["last"]) == ("10.5.0.9", "10.5.3.1", "10.5.3.254")
    shown = json.loads(json.dumps(networks.to_json(made, [])))
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.5.0.0/16", "Gateway": "10.5.0.9", "IPRange": "10.5.3.0/24"}]
    files.remove(made)
    with pytest.raises(NotFound, match="no such network"):
        files.find("net")


def test_ranges_that_are_chosen_are_free(tmp_path: Path) -> None:
    """Neither another network nor a route of this host has them: seen by a process whose host has a route to a part of the first."""
    code = """
import pathlib, sys
from nbcontainers.engine.networks import NetworkFiles
files = NetworkFiles(pathlib.Path(sys.argv[1]))
first, second = files.create("one"), files.create("two", ipv6=True)
for network in (files.find("bridge"), first, second):
    print(*(subnet.network for subnet in network.subnets))
"""
    apart = ["unshare", "--map-root-user", "--user", "--net", "sh", "-c"]
    if subprocess.run([*apart, "ip link set lo up"], capture_output=True, check=False).returncode:
        pytest.skip("needs a network namespace of one's own: 'unshare --map-root-user --user --net ip link set lo up'")
    route = 'ip link set lo up && ip route add 172.17.128.0/24 dev lo && exec "$@"'
    # What leads to another store's networks is left to it, too, but is no reason to have none.
    many = " && ".join(f"ip route add {range_} dev nbc-0" for range_ in ("172.16.0.0/12", "192.168.0.0/16"))
    others = "ip link add nbc-0 type veth peer name far && ip link set nbc-0 up && ip link set far up"
    one = "ip route add 172.18.0.0/16 dev nbc-0"
    for folder, more, wanted in (
        ("alone", "true", ["172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16"]),
        ("beside", f"{others} && {one}", ["172.19.0.0/16", "172.20.0.0/16", "172.21.0.0/16"]),
        ("crowded", f"{others} && {many}", ["172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16"]),
    ):
        (tmp_path / folder).mkdir()
        words = [*apart, route.replace("&& exec", f"&& {more} && exec"), "sh", sys.executable, "-c", code]
        done = subprocess.run([*words, str(tmp_path / folder)], capture_output=True, text=True, check=False)
        bridge, first, second = done.stdout.splitlines() or [done.stderr] * 3
        four, six = second.split()
        assert [bridge, first, four] == wanted
        assert ipaddress.ip_network(six).is_private


def test_of_many_who_make_one_network_one_does(files: NetworkFiles) -> None:
    """The others hear that it exists."""
    outcomes: list[str] = []

    def make() -> None:
        try:
            outcomes.append(files.create("net").id)
        except Conflict:
            outcomes.append("")

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one for one in outcomes if one] == [files.find("net").id]


@pytest.mark.parametrize(
    ("match", "settings"),
    [
        ("not a range", {"subnets": ["10.0.0.1/8"]}),
        ("overlaps", {"subnets": ["10.5.1.0/24"]}),
        ("no room", {"subnets": ["10.6.0.0/31"]}),
        ("without IPv6", {"subnets": ["fd00::/64"]}),
        ("more than one", {"subnets": ["10.6.0.0/16", "10.7.0.0/16"]}),
        ("gateway", {"subnets": ["10.6.0.0/16"], "gateways": ["10.7.0.1"]}),
        ("ip-range", {"subnets": ["10.6.0.0/16"], "ip_ranges": ["10.7.0.0/24"]}),
        ("unknown network option", {"options": {"x": "y"}}),
        ("mtu", {"options": {networks.DRIVER_MTU: "9"}}),
    ],
)
def test_what_cannot_be_is_refused(files: NetworkFiles, match: str, settings: dict[str, object]) -> None:
    """And nothing is made."""
    files.create("other", subnets=["10.5.0.0/16"])
    with pytest.raises(NBContainersError, match=match):
        files.create("net", **settings)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        files.find("net")


def test_built_in_networks_stay(files: NetworkFiles) -> None:
    """They can be neither made nor removed."""
    with pytest.raises(Conflict, match="exists already"):
        files.create("host")
    with pytest.raises(NBContainersError, match="pre-defined"):
        files.remove(files.find("bridge"))


@pytest.mark.parametrize("text", ["", "[]", "null"])
def test_a_network_whose_file_is_damaged(tmp_path: Path, text: str) -> None:
    """It is named with what to do, hides no other, and can be removed; the default one is made anew."""
    with Engine(tmp_path) as engine:
        engine.create_network("torn")
        engine.create_network("whole")
        engine.network("bridge")
        for name in ("torn", "bridge"):
            (tmp_path / "networks" / f"{name}.json").write_text(text)
        with pytest.raises(IntegrityError, match=r"torn\.json is damaged") as refused:
            engine.network("torn")
        assert "network rm torn" in refused.value.hint
        assert [one.name for one in engine.networks()] == ["bridge", "host", "none", "whole"]
        engine.remove_network("torn")
        with pytest.raises(NotFound):
            engine.network("torn")


def test_looking_for_networks_that_can_go_writes_nothing(tmp_path: Path) -> None:
    """Where the disk is full, ``prune`` is what helps: no built-in network is made for it."""
    files = NetworkFiles(tmp_path)
    assert files.own() == ()
    assert list(tmp_path.iterdir()) == []
    files.create("mine")
    assert [network.name for network in files.own()] == ["mine"]
