"""What this host allows, and where its sockets are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.errors import HostError
from nbcontainers.linux import capabilities
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime import rundir
from nbcontainers.runtime.host import Host
from tests.machine import mounts
from tests.waiting import until


def test_the_probe_says_what_was_tried(host: Host) -> None:
    """The tier follows from the trials, and everything that does not hold says why."""
    assert (host.tier == "T0") == (not host.identity.userns)
    assert os.geteuid() == 0 or host.tier == "T2"
    report = host.report()
    assert report.tier == host.tier
    assert report.summary
    assert {"root", "user namespace", "proc", "overlay", "seccomp", "pid namespace"} <= {
        check.name for check in report.checks
    }
    assert all(check.detail for check in report.checks if not check.holds)
    assert host.namespaces >= {"mount", "pid"}
    assert hosts.probe() is host


def test_the_report_names_what_is_not_enforced(host: Host) -> None:
    """Controllers that cannot be used, other identities on T2, capabilities that this process does not hold."""
    named = " ".join(host.report().not_enforced)
    assert ("other identities" in named) == host.identity.userns
    assert ("memory is watched" in named) == ("memory" not in host.hierarchy.controllers)
    assert ("cannot be given" in named) == bool(capabilities.DOCKER - host.capabilities)


def test_the_probe_changes_nothing() -> None:
    """It runs in a process of its own: this one stays in its namespaces, and no mount or process is left."""
    names = ("mnt", "user", "pid", "net")
    before = {name: os.readlink(f"/proc/self/ns/{name}") for name in names}
    mounted = mounts()
    hosts._probe.cache_clear()
    hosts.probe()
    assert {name: os.readlink(f"/proc/self/ns/{name}") for name in names} == before
    until(lambda: mounts() <= mounted)


def test_sockets_have_a_short_private_folder(tmp_path: Path) -> None:
    """$XDG_RUNTIME_DIR where it is short enough, else a folder in /tmp; 0700 in either case."""
    chosen = rundir.choose({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert chosen == (tmp_path / "nbcontainers" if len(str(tmp_path)) < 50 else chosen)
    far = tmp_path / ("x" * 100)
    far.mkdir()
    chosen = rundir.choose({"XDG_RUNTIME_DIR": str(far)})
    assert chosen == Path(f"/tmp/nbc-{os.geteuid()}")
    assert chosen.stat().st_mode & 0o777 == 0o700
    assert rundir.choose({}) == chosen
    with pytest.raises(HostError, match="too long"):
        rundir.make(far / "y")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="nbc-", dir="/tmp") as name:
        yield Path(name)


def test_sockets_lie_elsewhere_where_nothing_can_be_written_to_tmp(short: Path) -> None:
    """A pod with a read-only root has a /dev/shm all the same; where there is no place at all, it is said what to set."""
    assert rundir.PLACES[:2] == ("/tmp", "/dev/shm")
    (short / "file").touch()  # no folder can be made below it, whoever asks
    chosen = rundir.choose({}, (str(short / "file"), str(short)))
    assert chosen == short / f"nbc-{os.geteuid()}"
    assert chosen.stat().st_mode & 0o777 == 0o700
    with pytest.raises(HostError) as caught:
        rundir.choose({}, (str(short / "file"),))
    assert "XDG_RUNTIME_DIR" in caught.value.hint


def test_a_folder_of_somebody_else_is_refused(short: Path) -> None:
    """Who makes our folder before us does not get our sockets; a folder that is too open is closed."""
    (short / "link").symlink_to(short)
    with pytest.raises(HostError, match="not a folder of this user"):
        rundir.make(short / "link")
    if os.geteuid() == 0:
        (short / "theirs").mkdir()
        os.chown(short / "theirs", 1000, 1000)
        with pytest.raises(HostError, match="not a folder of this user"):
            rundir.make(short / "theirs")
    (short / "open").mkdir(mode=0o777)
    assert rundir.make(short / "open").stat().st_mode & 0o777 == 0o700
