"""Policies of this host's own packet filter that keep containers' networks from the world, in network namespaces of the tests' own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a packet filter to read")
_ASK = "from nbcontainers.linux import firewall; print(firewall.drops_forwarded())"
_NFT = "nft add chain {} {} passing '{{ type filter hook forward priority 0; policy {}; }}'"


def asked(*commands: str) -> list[str]:
    """What is found after each of some commands, in a new network namespace."""
    ask = f"'{sys.executable}' -c '{_ASK}'"
    script = "\n".join(f"{command}\n{ask}" for command in commands)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft")
@pytest.mark.parametrize("family", ["inet", "ip"])
def test_a_policy_of_nf_tables(family: str) -> None:
    """A base chain that drops by its policy is named, unless a rule of its family is about our interfaces."""
    assert asked(
        ":",
        f"nft add table {family} mine; {_NFT.format(family, 'mine', 'accept')}",
        f"nft delete table {family} mine; nft add table {family} mine; {_NFT.format(family, 'mine', 'drop')}",
        f"nft add rule {family} mine passing tcp dport 22 accept",
        f"nft add rule {family} mine passing iifname '\"nbc-*\"' accept",
        f"nft delete table {family} mine",
    ) == ["", "", *["chain passing of table mine"] * 2, "", ""]


@pytest.mark.parametrize(("program", "name"), [("iptables", "table filter"), ("iptables-legacy", "iptables")])
def test_a_policy_of_iptables(program: str, name: str) -> None:
    """Of either iptables; the older one's table is not made by looking."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    assert asked(
        "test ! -s /proc/net/ip_tables_names",
        f"test ! -s /proc/net/ip_tables_names; {program} -P FORWARD DROP",
        f"{program} -A FORWARD -p tcp -j ACCEPT",
        f"{program} -I FORWARD -i nbc-+ -j ACCEPT",
        f"{program} -F FORWARD",
        f"{program} -P FORWARD ACCEPT",
    ) == ["", *[f"chain FORWARD of {name}"] * 2, "", f"chain FORWARD of {name}", ""]


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft")
def test_doctor_and_containers_say_it(tmp_path: Path) -> None:
    """Where nothing of theirs is passed on, doctor's line on the way out and what each container lacks have the reason."""
    script = f"nft add table inet mine; {_NFT.format('inet', 'mine', 'drop')}; nbc doctor; "
    script += "nbc run --name one toolbox true; nbc inspect one; nbc rm one"
    environment = {**os.environ, "NBCONTAINERS_ROOT": str(tmp_path / "store"), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["unshare", "--net", "bash", "-ec", f'nbc() {{ "{sys.executable}" -m nbcontainers "$@"; }}\n{script}'],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report, _, described = done.stdout.partition("\n[\n")
    assert "chain passing of table mine" in report
    lacks = json.loads("[\n" + described[: described.rindex("]") + 1])[0]["NBContainers"]["Lacks"]
    assert any(line.startswith("no way out of its networks to the world: this host drops") for line in lacks), lacks
