"""``docker network``'s words: columns, fields, filters and JSON keys."""

from __future__ import annotations

import json

from nbcontainers import Engine
from tests.cli.saying import said


def test_networks_are_listed_as_docker_lists_them(engine: Engine) -> None:
    """Titles, fields and filters; what is found of nothing is nothing."""
    identifier = said(engine, "network create --label tier=back --ipv6 back").strip()
    lines = said(engine, "network ls").splitlines()
    assert lines[0].split("  ")[0] == "NETWORK ID"
    assert [line.split()[1:] for line in lines[1:]] == [
        ["back", "bridge", "local"],
        ["bridge", "bridge", "local"],
        ["host", "host", "local"],
        ["none", "null", "local"],
    ]
    row = json.loads(said(engine, "network ls --format json --filter type=custom"))
    assert row.pop("CreatedAt").endswith(" +0000 UTC")
    assert row == {
        "ID": identifier[:12],
        "Name": "back",
        "Driver": "bridge",
        "Scope": "local",
        "IPv4": "true",
        "IPv6": "true",
        "Internal": "false",
        "Labels": "tier=back",
    }
    assert said(engine, "network ls -q --no-trunc -f dangling=true").strip() == identifier
    assert len(said(engine, "network ls -q -f dangling=false -f scope=local").split()) == 3
    assert said(engine, "network ls -f label=tier=front -q") == ""
    for name in ("n10", "n9"):
        said(engine, f"network create {name}")
    assert said(engine, "network ls -f name=n. --format {{.Name}}") == "n9\nn10\nnone\n"


def test_a_network_is_described_by_dockers_keys(engine: Engine) -> None:
    """All that the Engine API names; Source: Docker Engine API 1.47, Network."""
    said(engine, "network create --subnet 10.90.0.0/16 --internal inner")
    (found,) = json.loads(said(engine, "network inspect inner"))
    assert found.keys() == {
        *("Name", "Id", "Created", "Scope", "Driver", "EnableIPv4", "EnableIPv6", "IPAM", "Internal", "Attachable"),
        *("Ingress", "ConfigFrom", "ConfigOnly", "Containers", "Options", "Labels"),
    }
    assert found["IPAM"]["Config"] == [{"Subnet": "10.90.0.0/16", "Gateway": "10.90.0.1"}]
    assert said(engine, "network inspect -f {{.Internal}} inner").strip() in ("true", "True")


def test_a_network_is_made_as_it_was_asked_for(engine: Engine) -> None:
    """With its ranges, its own address, those kept for others, options and labels; what one host does not have is refused."""
    ranges = "--subnet 10.91.0.0/16 --ip-range 10.91.4.0/24 --gateway 10.91.0.9 --subnet fd00:91::/64"
    kept = "--aux-address printer=10.91.4.1 --aux-address router=fd00:91::99"
    words = "--driver bridge --scope local --ipam-driver default --internal --ipv4 --ipv6 --label a=b --attachable"
    said(engine, f"network create {ranges} {kept} {words} --opt com.docker.network.driver.mtu=1400 whole")
    (found,) = json.loads(said(engine, "network inspect whole"))
    four, six = found["IPAM"]["Config"]
    assert four == {
        "Subnet": "10.91.0.0/16",
        "Gateway": "10.91.0.9",
        "IPRange": "10.91.4.0/24",
        "AuxiliaryAddresses": {"printer": "10.91.4.1"},
    }
    assert six == {"Subnet": "fd00:91::/64", "Gateway": "fd00:91::1", "AuxiliaryAddresses": {"router": "fd00:91::99"}}
    assert (found["Internal"], found["Attachable"], found["EnableIPv4"], found["EnableIPv6"]) == (True,) * 4
    assert (found["Labels"], found["Options"]) == ({"a": "b"}, {"com.docker.network.driver.mtu": "1400"})
    for wrong, told in (
        ("--driver macvlan", "no network driver 'macvlan'"),
        ("--scope swarm", "--scope cannot be had: a network is of one host"),
        ("--ipam-driver null", "--ipam-driver cannot be had"),
        ("--aux-address 10.91.0.4", "not an auxiliary address"),
        ("--aux-address a=10.99.0.4", "in none of the network's subnets"),
        ("--subnet 10.92.0.0/16 --aux-address a=10.92.0.1", "the network's own"),
        ("--subnet 10.92.0.0/16 --gateway 10.92.255.255", "stands for all of 10.92.0.0/16"),
        ("--subnet 10.92.0.0/16 --gateway 10.92.0.0", "stands for all of 10.92.0.0/16"),
    ):
        code = 125 if "cannot be had" in told else 1
        assert told in said(engine, f"network create {wrong} another", code=code)
    assert said(engine, "network ls -q -f name=another") == ""
    assert said(engine, "network ls --format {{.Name}} -f name=^who.e$") == "whole\n"
    assert said(engine, "network ls --format {{.Name}} -f name=^who.e$ -f name=^host$") == "host\nwhole\n"
    assert said(engine, "network ls -q -f label=a=b -f label=c") == ""
    for wrong, code in (("type=foo", 1), ("dangling=foo", 1), ("name", 125), ("foo=bar", 1)):
        said(engine, f"network ls -f {wrong}", code=code)
    assert "stands for the network bridge" in said(engine, "network create default", code=1)


def test_containers_are_put_on_networks_and_taken_off(engine: Engine) -> None:
    """With names and addresses there, which are checked at once; it keeps the network it was made for as its mode."""
    said(engine, "network create --subnet 10.93.0.0/24 --ipv6 --subnet fd00:93::/64 --aux-address p=10.93.0.7 side")
    engine.toolbox()
    container = engine.create("toolbox", "true", name="guest", network="bridge")
    said(engine, "network connect --alias pal --ip 10.93.0.5 --ip6 fd00:93::5 side guest")
    place = container.inspect()["NetworkSettings"]["Networks"]["side"]
    assert place["Aliases"] == ["pal"]
    assert place["IPAMConfig"] == {"IPv4Address": "10.93.0.5", "IPv6Address": "fd00:93::5"}
    said(engine, "network disconnect side guest")
    assert "is kept for 'p'" in said(engine, "network connect --ip 10.93.0.7 side guest", code=1)
    assert "not on network" in said(engine, "network disconnect side guest", code=1)
    assert "not on network" in said(engine, "network disconnect --force side guest", code=1)
    said(engine, "network disconnect --force bridge guest")
    said(engine, "network connect side guest")
    assert container.inspect()["HostConfig"]["NetworkMode"] == "bridge"
    side = engine.network("side").id
    for word, names in (("side", "guest"), (side, "guest"), (side[:9], "guest"), ("bridge", ""), ("nowhere", "")):
        assert said(engine, f"ps -a --format {{{{.Names}}}} -f network={word}").strip() == names
    container.remove()


def test_networks_go_by_filters_and_when_it_is_meant(engine: Engine) -> None:
    """``prune`` asks, and where nobody is there removes nothing; ``rm --force`` does not mind a network that is not there."""
    for name in ("kept", "gone", "young"):
        said(engine, f"network create --label which={name} {name}")
    assert "nobody is there to be asked" in said(engine, "network prune", code=1)
    told = said(engine, "network prune --force --filter label!=which=kept --filter label!=which=young")
    assert told.splitlines()[:2] == ["Deleted Networks:", "gone"]
    assert said(engine, "network prune --force --filter until=24h").strip() == ""
    assert said(engine, "network ls -q -f type=custom").count("\n") == 2
    said(engine, "network rm kept young")
    assert "no such network" in said(engine, "network rm kept", code=1)
    said(engine, "network rm --force kept")


def test_ports_that_are_exposed_only_are_listed(engine: Engine) -> None:
    """While a container runs, and where they could be published."""
    said(engine, "toolbox")
    for network, name in (("bridge", "reached"), ("none", "alone")):
        said(engine, f"run -d --name {name} --network {network} --expose 53/udp --expose 90-91 toolbox sleep 600")
    assert said(engine, "ps -f name=reached --format {{.Ports}}").strip() == "53/udp, 90-91/tcp"
    assert said(engine, "ps -f name=alone --format {{.Ports}}").strip() == ""
    said(engine, "rm -f reached alone")
