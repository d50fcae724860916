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
