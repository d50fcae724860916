"""What this host allows, and where its sockets are."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers.errors import HostError
from nbcontainers.linux import capabilities
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime import rundir, trial
from nbcontainers.runtime.door import Door
from nbcontainers.runtime.host import Host
from nbcontainers.runtime.poller import Poller
from tests.machine import mounts
from tests.waiting import until


def test_the_probe_asks_for_what_it_names() -> None:
    """It has the numbers of capabilities for itself, to import little: they are the kernel's."""
    assert all(capabilities.NAMES[number] == name for name, number in trial.OF_ROOT.items())


def test_the_probe_says_what_was_tried(host: Host) -> None:
    """The tier follows from the trials, and everything that does not hold says why."""
    assert (host.tier == "T0") == (not host.identity.userns)
    assert os.geteuid() == 0 or host.tier == ("T2" if host.has_single_id else "T1")
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
    assert ("other identities" in named) == host.has_single_id
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


def listening(path: Path, callers: int = 8) -> socket.socket:
    """A socket at which somebody listens, who hears nobody out."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen(callers)
    return made


def test_sockets_of_the_dead_are_swept_and_no_others(short: Path) -> None:
    """One at which somebody listens stays, though he is too busy to answer; so do a holder's, one that is being made, and other files."""
    with contextlib.ExitStack() as open_:
        open_.enter_context(listening(short / "alive.sock"))
        open_.enter_context(listening(short / "busy.sock", 0))
        callers = [open_.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(8)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(str(short / "busy.sock"))
        for name in ("dead.sock", "net-dead.sock", "young.new", "old.new", "other"):
            listening(short / name).close()
        os.utime(short / "old.new", (0, 0))
        (short / "file.sock").touch()
        stay = {"alive.sock", "busy.sock", "net-dead.sock", "young.new", "other", "file.sock"}
        assert rundir.sweep([short, short / "missing"]) == ("dead.sock", "old.new")
        assert {path.name for path in short.iterdir()} == stay
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(short / "alive.sock"))


def test_a_sweep_takes_nobodys_socket_who_comes_meanwhile(short: Path) -> None:
    """A door that is made where a dead one was stays, however often somebody sweeps in just that moment."""
    is_over = threading.Event()

    def sweep() -> int:
        swept = 0
        while not is_over.is_set():
            swept += len(rundir.sweep([short]))
        return swept

    def nothing(*_: object) -> None:
        raise AssertionError

    path, poller = short / "door.sock", Poller()
    with ThreadPoolExecutor(2) as pool:
        sweeping = [pool.submit(sweep) for _ in range(2)]
        try:
            for _ in range(300):
                door = Door(poller, str(path), attach=nothing, obey=nothing)
                until(path.exists)  # it may be looked at, for an instant, elsewhere
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.setblocking(False)  # those who sweep are callers, too, and nobody lets any of them in
                    until(lambda caller=caller: caller.connect_ex(str(path)) in {0, errno.EAGAIN})
                assert door._listener is not None
                poller.forget(door._listener.fileno())
                door._listener.close()  # as one that is killed does
        finally:
            is_over.set()
        assert sum(one.result() for one in sweeping)


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
