"""The tiers with a user namespace, each where this host gives it: with a range of ids, and with a single one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Engine
from nbcontainers.errors import Conflict, HostError
from nbcontainers.linux import idmap
from nbcontainers.results import ENDED_FOR
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime.host import TIER, Host
from nbcontainers.runtime.process import Runtime
from tests import suite
from tests.engine.networked import fetch, host_of_our_own, python, serving
from tests.machine import remove
from tests.runtime.conftest import Box
from tests.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """This host at tier T1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TIER, "T1")
        try:
            yield hosts.probe()
        except HostError as error:
            pytest.skip(f"no range of ids here: {error}")


@pytest.fixture(scope="module")
def runtime(host: Host, run_dir: Path) -> Iterator[Runtime]:
    """One for the tests here."""
    with Runtime(run_dir, host) as made:
        yield made


def test_a_range_holds_other_users(box: Box) -> None:
    """At T1 the kernel knows them: owners, groups and set-id bits are real, and what others may not do they cannot."""
    out = box.shell("""
        cd /tmp; touch f; chown 5:6 f; chmod 4711 f; stat -c '%u:%g %a' f; mkdir secret; chmod 700 secret
        su ann -c 'id; ls secret || echo refused; touch g; stat -c %u:%g g' 2>/dev/null
    """)
    assert out.splitlines() == [
        "5:6 4711",
        "uid=1000(ann) gid=100(users) groups=29(audio),100(users)",
        "refused",
        "1000:100",
    ]
    made = (box.started[-1].folder / "upper/tmp/f").stat()
    first = {entry.container: entry.host for entry in box.host.identity.uid_mappings}[1]
    assert made.st_uid == first + 4
    assert stat.S_IMODE(made.st_mode) == 0o4711


def test_a_range_needs_no_supervisor(box: Box) -> None:
    """A container of T1 asks the kernel, and -u is a real user of it."""
    assert "Seccomp_filters:\t1\n" in box.shell("cat /proc/self/status", user="ann")
    lines = dict(line.split(":\t") for line in box.shell("cat /proc/self/status", user="ann").splitlines())
    assert lines["Uid"].split() == ["1000"] * 4


def test_a_range_has_networks_and_shares_namespaces(host: Host, tmp_path: Path) -> None:
    """At T1, too, containers find each other, are published, change networks, and share processes and IPC."""
    if not host.allows("container networks"):
        pytest.skip("this host allows no networks between containers")
    with host_of_our_own(), Engine(tmp_path / "store") as engine:
        engine.toolbox()
        engine.create_network("net")
        one = serving(engine, "one", network="net", publish=["127.0.0.1::80"], ipc="shareable")
        assert fetch(f"http://127.0.0.1:{one.ports()[0][1]}/").startswith("one ")
        code = "import urllib.request as u; print(u.urlopen('http://one/').read().decode())"
        assert python(engine, code, network="net", user="5").startswith("one ")
        other = engine.run("toolbox", "sleep", "600", detach=True)
        other.connect(engine.network("net"))
        assert python(engine, code, network=f"container:{other.name}").startswith("one ")
        other.disconnect(engine.network("net"))
        code = "print(open('/proc/1/cmdline').read().split(chr(0))[0])"
        assert python(engine, code, pid="container:one", ipc="container:one", network="net") == "python3"
        for container in (one, other):
            container.remove(force=True)
        engine.prune_networks()


def test_processes_of_all_ids_count(host: Host, tmp_path: Path) -> None:
    """RLIMIT_NPROC counts those of each id apart: who has more in all is ended where no cgroup counts, and why is told."""
    if "pids" in host.hierarchy.controllers:
        pytest.skip("needs an ordinary user without a cgroup: this one's forks fail")
    code = """
import os, time
for uid in range(1, 6):
    if not os.fork():
        os.setuid(uid)
        for _ in range(9):
            if not os.fork():
                time.sleep(600)
        time.sleep(600)
time.sleep(600)
"""
    with Engine(tmp_path / "store") as engine:
        container = engine.run("toolbox", "python3", "-c", code, network="none", pids_limit=20, detach=True)
        assert container.wait(PATIENCE_S) == 137
        assert container.state.error == f"{ENDED_FOR}had more processes and threads than its limit of 20"
        assert not container.state.out_of_memory
        assert any("counts those of each user apart" in note for note in container.state.not_enforced)
        container.remove()


def test_the_suite_holds_with_a_range(host: Host, tmp_path: Path) -> None:
    """What an ordinary user's containers are with one id, they are with a range of ids."""
    if os.geteuid() == 0:
        pytest.skip("needs an ordinary user: root has a better tier")
    done = suite.run(tmp_path / "tests")
    remove(tmp_path / "tests")  # what in there belongs to others, pytest could not
    suite.require(done)


def test_the_tier_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """NBCONTAINERS_TIER takes one that this host gives; any other is an error that names those."""
    monkeypatch.setenv(TIER, "T2")
    found = hosts.probe()
    assert (found.tier, found.identity.is_single) == ("T2", True)
    for wrong in ("T9", "T0") if os.geteuid() else ("T9",):
        monkeypatch.setenv(TIER, wrong)
        with pytest.raises(HostError, match=f"{TIER}={wrong}: this host gives"):
            hosts.probe()


def test_a_store_keeps_its_tier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files of one tier belong to nobody at another: a store is opened at the tier that made it, and refused at another."""
    monkeypatch.setenv(TIER, "T2")
    with Engine(tmp_path / "store") as engine:
        assert engine.host().tier == "T2"
    monkeypatch.delenv(TIER)
    with Engine(tmp_path / "store") as engine:
        assert engine.host().tier == "T2"
    if hosts.probe().tier == "T2":
        return
    monkeypatch.setenv(TIER, hosts.probe().tier)
    with Engine(tmp_path / "store") as engine, pytest.raises(Conflict, match="has files of one id"):
        engine.host()


def test_ranges_are_read_as_they_are_written(tmp_path: Path) -> None:
    """By name or number, the longest; lines that are none are passed over."""
    file = tmp_path / "subuid"
    file.write_text(f"# ours\nnobody-else:1:5\n{os.geteuid()}:100000:10\n\n{os.geteuid()}:200000:65536\nbad\n")
    assert idmap._delegation(str(file), os.geteuid()) == (200000, 65536)
    assert idmap._delegation(str(tmp_path / "none"), os.geteuid()) is None
